/** A small trace as Python writes it. */

const SIGMAS = [0.9, 0.6, 0.3, 0.0];

export function step(modes, rules, scores, frames, seconds = 0.5) {
  return { modes, rules, scores, frames, seconds };
}

/** Two chunks of two frames and three steps each, the second one iteration later, behind one clean frame. */
export function staircase(overrides = {}) {
  return {
    index: 0,
    start: 10,
    frames: 5,
    prefix: 1,
    tail: 0,
    ar_step: 1,
    units: [
      [1, 3],
      [3, 5],
    ],
    sigmas: SIGMAS,
    steps: [
      step("R.", "w.", "0009", [0, 5]),
      step("RC", "wc", "50031004", [0, 5]),
      step("PP", "pp", "20032503", [0, 0], 0.001),
      step(".R", ".z", "3103", [1, 5]),
    ],
    ...overrides,
  };
}

export function trace(overrides = {}) {
  return {
    format: "scope.trace",
    version: 2,
    run: { settings: { tau_c: 0.1, tau_p: 0.3 } },
    rules: { w: "warm-up", z: "last step", p: "score below the predict threshold" },
    segments: [staircase()],
    totals: { iterations: 4, computed: 3, seconds: 1.501, skipped_reason: "" },
    ...overrides,
  };
}
