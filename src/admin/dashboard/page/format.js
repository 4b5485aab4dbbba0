// Figures and times as people read them.

export function count(number) {
  if (number === null || number === undefined) return "–";
  if (number >= 10_000_000) return `${(number / 1e6).toFixed(0)} M`;
  if (number >= 100_000) return `${(number / 1e3).toFixed(0)} k`;
  return Number.isInteger(number) ? number.toLocaleString("en") : number.toFixed(number < 10 ? 1 : 0);
}

export const rate = (number) => (number === null || number === undefined ? "–" : `${count(number)}/s`);

export function milliseconds(number) {
  if (number === null || number === undefined) return "–";
  return number >= 1000 ? `${(number / 1000).toFixed(1)} s` : `${number.toFixed(number < 10 ? 1 : 0)} ms`;
}

export function percent(ratio) {
  if (ratio === null || ratio === undefined) return "–";
  const value = ratio * 100;
  return `${value === 0 || value >= 10 ? value.toFixed(0) : value.toFixed(value < 0.1 ? 2 : 1)} %`;
}

// A length of time, in the two units that matter.
export function span(seconds) {
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const first = units.findIndex(([, length]) => seconds >= length);
  if (first < 0) return "a moment";
  const [word, length] = units[first];
  const rest = units[first + 1];
  const more = rest && length > 1 ? Math.floor((seconds % length) / rest[1]) : 0;
  return `${Math.floor(seconds / length)} ${word}${more > 0 ? ` ${more} ${rest[0]}` : ""}`;
}

export const since = (milliseconds) => span(Math.max(0, (Date.now() - milliseconds) / 1000));

export function clock(milliseconds) {
  const at = new Date(milliseconds);
  const time = at.toLocaleTimeString("en-GB");
  return Date.now() - milliseconds < 12 * 3600_000 ? time : `${at.toLocaleDateString("en-GB")} ${time}`;
}

export const plural = (number, one, many) => `${count(number)} ${number === 1 ? one : many}`;

export function bytes(number) {
  const units = ["bytes", "KiB", "MiB", "GiB"];
  const power = Math.min(units.length - 1, Math.floor(Math.log2(Math.max(1, number)) / 10));
  return `${count(number / 1024 ** power)} ${units[power]}`;
}

export const sentence = (text) => `${text.slice(0, 1).toUpperCase()}${text.slice(1)}.`;
