/** How files come in: dropped, pasted, or chosen. */

/**
 * Files that are dropped. A place that takes them keeps them from the places around it.
 *
 * @param {HTMLElement} zone what shows that a drop is welcome
 * @param {(files: File[]) => void} take
 * @param {EventTarget} [where] that listens
 */
export function onDrop(zone, take, where = zone) {
  let depth = 0; // enter and leave fire for every element on the way
  const mark = () => zone.classList.toggle("over", depth > 0);
  const listen = (/** @type {string} */ name, /** @type {(event: DragEvent) => void} */ act) =>
    where.addEventListener(name, (event) => {
      const drag = /** @type {DragEvent} */ (event);
      if (!drag.dataTransfer?.types.includes("Files")) return;
      drag.stopPropagation();
      act(drag);
      mark();
    });
  listen("dragenter", () => { depth += 1; });
  listen("dragleave", () => { depth = Math.max(0, depth - 1); });
  listen("dragover", (event) => event.preventDefault());
  listen("drop", (event) => {
    event.preventDefault();
    depth = 0;
    take([...(event.dataTransfer?.files ?? [])]);
  });
}

/** @param {(files: File[]) => void} take */
export function onPaste(take) {
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length === 0) return; // text goes where it was meant to
    event.preventDefault();
    take(files);
  });
}

/** @param {HTMLElement} button @param {HTMLInputElement} input @param {(files: File[]) => void} take */
export function onChoose(button, input, take) {
  button.onclick = () => input.click();
  input.onchange = () => {
    take([...(input.files ?? [])]);
    input.value = ""; // so that the same file can be chosen again
  };
}

/** @param {File} file */
export const isModel = (file) => /\.onnx$/i.test(file.name);

/** Whether a file can be read at all: a folder cannot, nor what was deleted since. @param {File} file */
export async function isReadable(file) {
  try {
    await file.slice(0, 1).arrayBuffer();
    return true;
  } catch {
    return false;
  }
}
