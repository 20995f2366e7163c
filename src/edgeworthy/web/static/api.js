/** Talking to the server: one place for keys, waiting, and what goes wrong. */

const KEY = "edgeworthy-key";
const TRIES = 3;
const LONGEST_WAIT_S = 15;
const PASSING = [408, 429, 503, 504];
const NO_KEY = { detail: "This server asks for a key.", hint: "Try again, and give the key." };

/** Something that went wrong, in the words of RFC 9457. */
export class Problem extends Error {
  /** @param {{detail: string, hint?: string, status?: number, isPassing?: boolean}} said */
  constructor({ detail, hint = "", status = 0, isPassing = PASSING.includes(status) }) {
    super(detail);
    this.hint = hint;
    this.isPassing = isPassing; // whether trying again may help
  }
}

/**
 * @typedef {object} Asked
 * @property {string} [method]
 * @property {BodyInit | null} [body]
 * @property {string} [type] of the body
 * @property {(seconds: number) => void} [onwait] the server is busy, and is asked again after so long
 * @property {(share: number) => void} [onprogress] so much of the body has been sent, 0..1
 */

/** @type {(wrong: boolean) => Promise<string | null>} */
let askForKey = async () => null;
/** @type {Promise<string | null> | null} */
let asking = null;

/** Who asks the user for the key. @param {typeof askForKey} ask */
export function onKeyNeeded(ask) {
  askForKey = ask;
}

/**
 * The answer to a request. It is asked again where the server is busy or wants a key.
 *
 * @param {string} path
 * @param {Asked} [asked]
 * @returns {Promise<Response>}
 * @throws {Problem}
 */
export async function request(path, asked = {}) {
  for (let attempt = 1; ; attempt += 1) {
    const key = sessionStorage.getItem(KEY);
    const answer = await exchanged(path, asked, key);
    if (answer.ok) return answer;
    if (answer.status === 401) {
      if (!(await isKeyGiven(key))) throw new Problem(NO_KEY);
      attempt = 0;
    } else if (answer.status === 429 && attempt < TRIES) {
      await waited(answer, asked);
    } else {
      throw await problemOf(answer);
    }
  }
}

/** The answer's JSON. @param {string} path @param {Asked} [asked] @returns {Promise<any>} */
export async function json(path, asked) {
  const answer = await request(path, asked);
  try {
    return await answer.json();
  } catch {
    throw new Problem({ detail: "The server's answer cannot be read.", hint: "Is this edgeworthy serve?" });
  }
}

/** Calls that wait for a key at the same time ask the user once. @param {string | null} refused */
async function isKeyGiven(refused) {
  if (sessionStorage.getItem(KEY) !== refused) return true;
  asking ??= askForKey(refused !== null).finally(() => { asking = null; });
  const key = await asking;
  if (key !== null) sessionStorage.setItem(KEY, key);
  return key !== null;
}

/** @param {Response} answer @param {Asked} asked */
async function waited(answer, asked) {
  const said = Number(answer.headers.get("Retry-After"));
  const seconds = Math.min(Math.max(Number.isFinite(said) ? said : 1, 1), LONGEST_WAIT_S);
  asked.onwait?.(seconds);
  await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
}

/** @param {string} path @param {Asked} asked @param {string | null} key */
async function exchanged(path, asked, key) {
  const headers = new Headers();
  if (key !== null) headers.set("X-API-Key", encoded(key));
  if (asked.type) headers.set("Content-Type", asked.type);
  try {
    if (asked.onprogress) return await sent(path, asked, headers);
    return await fetch(path, { method: asked.method ?? "GET", body: asked.body, headers, cache: "no-store" });
  } catch {
    throw new Problem({
      detail: "The server cannot be reached.",
      hint: "See whether edgeworthy serve is still running, then try again.",
      isPassing: true,
    });
  }
}

/** Keys are ASCII; no header carries anything else. @param {string} key */
const encoded = (key) => key.replace(/[^\x20-\x7e]/g, "?");

/** fetch does not tell how far an upload is; XMLHttpRequest does. */
function sent(/** @type {string} */ path, /** @type {Asked} */ asked, /** @type {Headers} */ headers) {
  return new Promise((/** @type {(answer: Response) => void} */ resolve, reject) => {
    const exchange = new XMLHttpRequest();
    exchange.open(asked.method ?? "POST", path);
    exchange.responseType = "arraybuffer";
    headers.forEach((value, name) => exchange.setRequestHeader(name, value));
    exchange.upload.onprogress = (event) => asked.onprogress?.(event.total ? event.loaded / event.total : 0);
    exchange.onerror = reject;
    exchange.onload = () => {
      const after = exchange.getResponseHeader("Retry-After");
      resolve(new Response(exchange.response, {
        status: exchange.status,
        headers: after ? { "Retry-After": after } : {},
      }));
    };
    exchange.send(/** @type {any} */ (asked.body));
  });
}

/** @param {Response} answer */
async function problemOf(answer) {
  try {
    const said = await answer.json();
    if (typeof said.detail === "string") return new Problem({ ...said, status: answer.status });
  } catch {
    // what answered was no edgeworthy; its status says enough
  }
  return new Problem({ detail: `The server answered with status ${answer.status}.`, status: answer.status });
}
