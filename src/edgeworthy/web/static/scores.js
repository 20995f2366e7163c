/** Scores as bars, and what they say in words. */

import { el, listed } from "./dom.js";
import { areProbabilities, written } from "./numbers.js";

/** @typedef {{class_id: number, name: string, probability: number | null}} Score */
/** @typedef {{model: string, frame: string, description: string, chosen_by: string, scores: Score[],
 *    image: string | null, seconds: number}} Answer */

/** @param {Score} score */
export const nameOf = (score) => score.name || `class ${score.class_id}`;

/** The best class's name, null where there is none. @param {Answer | undefined} answer */
export function best(answer) {
  const first = answer?.scores[0];
  return first && first.probability !== null ? nameOf(first) : null;
}

/** The best class in words. @param {string | null} name */
const inWords = (name) => (name === null ? "nothing certain" : `“${name}”`);

/** "“tabby”, 93.0 %". @param {Answer} answer */
export function said(answer) {
  const name = best(answer);
  return name === null ? inWords(name)
    : `${inWords(name)}, ${written(answer.scores[0].probability, areProbabilities(answer.scores))}`;
}

/** @param {Answer} answer @returns {HTMLElement[]} */
export function bars({ scores }) {
  if (scores.length === 0) return [el("p", { class: "soft" }, "No class has a score above the threshold.")];
  const isProbability = areProbabilities(scores);
  const sizes = scores.map((score) => score.probability ?? 0);
  const largest = isProbability ? 1 : Math.max(...sizes, Number.MIN_VALUE);
  const rows = scores.map((score) => {
    const bar = el("span", { class: "bar", "aria-hidden": "true" }, el("span"));
    const share = Math.min(Math.max((score.probability ?? 0) / largest, 0), 1);
    bar.firstChild.style.inlineSize = `${100 * share}%`;
    return el("li", {},
      el("span", { class: "name" }, nameOf(score)),
      el("span", { class: "number" }, written(score.probability, isProbability)), bar);
  });
  return [
    el("ol", { class: "scores" }, rows),
    !isProbability && el("p", { class: "soft" },
      "These scores are no probabilities. Look at what the rules say of this file."),
  ].filter(Boolean);
}

/**
 * What several answers say together.
 *
 * @param {{who: string, answer: Answer}[]} answers two or more
 * @param {string} whose "frames" or "models"
 */
export function agreement(answers, whose) {
  const names = answers.map(({ answer }) => best(answer));
  const isOne = names.every((name) => name === names[0]) && names[0] !== null;
  const all = answers.length === 2 ? "Both" : `All ${answers.length}`;
  if (isOne) return { isOne, text: `${all} ${whose} say ${inWords(names[0])}.` };
  const each = answers.map(({ who }, place) => `${who} says ${inWords(names[place])}`);
  return { isOne, text: `The ${whose} disagree: ${listed(each)}.` };
}
