/** How numbers are written. */

const SMALLEST_SHOWN = 0.0005;

/** Whether all scores can be probabilities. @param {{probability: number | null}[]} scores */
export const areProbabilities = (scores) =>
  scores.every(({ probability }) => probability !== null && probability >= 0 && probability <= 1.0001);

/**
 * A score, in percent where it is a probability.
 *
 * @param {number | null} score null stands for what is no number
 * @param {boolean} isProbability
 */
export function written(score, isProbability) {
  if (score === null) return "not a number";
  if (!isProbability) return String(Number(score.toPrecision(4)));
  return score > 0 && score < SMALLEST_SHOWN ? "< 0.1 %" : `${(100 * score).toFixed(1)} %`;
}

/** @param {number} count */
export function bytes(count) {
  const units = ["bytes", "kB", "MB", "GB"];
  let place = 0;
  while (count >= 1000 && place < units.length - 1) {
    count /= 1000;
    place += 1;
  }
  return `${place ? count.toFixed(1) : count} ${units[place]}`;
}

/** With a thin space between thousands. @param {number} number */
export const grouped = (number) => String(number).replace(/\B(?=(\d{3})+$)/g, "\u202f");

/** With two or three digits that count. @param {number} seconds */
export function duration(seconds) {
  if (seconds >= 1) return `${seconds.toFixed(2)} s`;
  return `${Number((1000 * seconds).toPrecision(seconds < 0.1 ? 2 : 3))} ms`;
}
