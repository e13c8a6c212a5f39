/** Frames of a clip: the chunk that each belongs to, and its time. */

/** @param {number} frame @param {[number, number][]} chunks Frames [from, to) of each. @returns {number} -1 for none. */
export function chunkAt(frame, chunks) {
  return chunks.findIndex(([from, to]) => frame >= from && frame < to);
}

/** @param {number} frame @param {number} fps */
export function timeText(frame, fps) {
  return `${(frame / fps).toFixed(2)} s`;
}
