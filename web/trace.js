/**
 * Reading a SCOPE trace: what each cell of the timeline is, and how to say it in words.
 * Nothing here touches the page, so it also runs in tests.
 *
 * @typedef {object} Step One iteration of a segment.
 * @property {string} modes A letter per unit: R recompute, C cache, P predict, "." takes no step.
 * @property {string} rules A letter per unit: the rule that fired (see `Trace.rules`), or ".".
 * @property {(number|null)[]} scores Accumulated discrepancy before the decision, of the advancing units in order.
 * @property {[number, number]} frames Columns [from, to) that went through the model.
 * @property {number} seconds
 *
 * @typedef {object} Segment One window of the video.
 * @property {number} index
 * @property {number} start Latent frame of the video that column 0 holds.
 * @property {number} frames
 * @property {number} prefix
 * @property {number} tail
 * @property {number} ar_step Iterations by which each unit lags the one before.
 * @property {[number, number][]} units Columns [from, to) of every unit.
 * @property {number[]} sigmas Noise levels, one more than there are steps.
 * @property {Step[]} steps
 * @property {number} [planned] Iterations to expect while the run is in progress.
 *
 * @typedef {object} Totals
 * @property {number} iterations
 * @property {number} computed Iterations that evaluated the model.
 * @property {number} seconds
 * @property {number} [frames_computed]
 * @property {number} [frames_baseline]
 * @property {number} [estimated_baseline_seconds]
 * @property {string} [skipped_reason]
 *
 * @typedef {object} Trace
 * @property {string} format
 * @property {number} version
 * @property {{model?: string, method?: string, preset?: string, settings?: Record<string, any>}} run
 * @property {Record<string, string>} rules Sentence for every rule letter.
 * @property {Segment[]} segments
 * @property {Totals} [totals] Missing while the run is in progress.
 *
 * @typedef {{segment: Segment, first: number, count: number}} Place Where a segment lies: its first column and how many.
 *
 * @typedef {object} Grid
 * @property {Trace} trace
 * @property {number} columns
 * @property {number} rows
 * @property {Place[]} places
 * @property {Uint8Array} looks One of LOOK per cell, row after row.
 *
 * @typedef {object} Cell
 * @property {Place} place
 * @property {number} column
 * @property {number} unit
 * @property {string} mode
 * @property {string} rule
 * @property {number} progress 0: not started, 1..steps: about to take that step, steps + 1: done.
 * @property {number} sigma
 * @property {number|null} score
 * @property {number|null} seconds
 * @property {number} look
 *
 * @typedef {object} StepEvent
 * @property {string} node
 * @property {Segment|number} segment The segment's header with its first step, its index afterwards.
 * @property {Step} [step]
 * @property {Trace["run"]} [run]
 * @property {Record<string, string>} [rules]
 */

export const FORMAT = "scope.trace";
export const VERSION = 1;

/** How a cell looks. */
export const LOOK = Object.freeze({ empty: 0, waiting: 1, done: 2, context: 3, recompute: 4, predict: 5, cache: 6 });

const LOOK_OF_MODE = { R: LOOK.recompute, P: LOOK.predict, C: LOOK.cache };

const WORD_OF_LOOK = { [LOOK.recompute]: "Recomputed", [LOOK.predict]: "Predicted", [LOOK.cache]: "Reused from the cache" };

/** Used while a run is in progress; a finished trace brings its own. */
const DEFAULT_RULES = {
  o: "SCOPE is off",
  c: "the score is below the cache threshold",
  p: "the score is below the predict threshold",
  t: "the score reached the threshold",
  n: "not enough computed velocities to predict from",
  w: "warm-up: a chunk's first steps are computed",
  z: "a chunk's last steps are computed",
  e: "nothing computed yet that could be reused",
  h: "the longest allowed run of skipped steps was reached",
  j: "computed because another chunk needed it",
};

export class TraceError extends Error {}

/**
 * @param {unknown} payload A trace or its JSON text.
 * @returns {Trace}
 */
export function parseTrace(payload) {
  const trace = typeof payload === "string" ? parseJson(payload) : payload;
  if (trace?.format !== FORMAT || !Array.isArray(trace.segments)) throw new TraceError("This is not a SCOPE trace.");
  if (trace.version > VERSION) {
    throw new TraceError(
      `This trace has format version ${trace.version}, and this timeline reads up to ${VERSION}. Update SCOPE to see it.`,
    );
  }
  return trace;
}

function parseJson(text) {
  try {
    return JSON.parse(text);
  } catch {
    throw new TraceError("This is not a SCOPE trace.");
  }
}

/**
 * Segments one after the other along x, units along y.
 *
 * @param {Trace} trace
 * @returns {Grid}
 */
export function gridOf(trace) {
  const places = [];
  let columns = 0;
  for (const segment of trace.segments) {
    const count = Math.max(segment.planned ?? 0, segment.steps.length);
    places.push({ segment, first: columns, count });
    columns += count;
  }
  const rows = Math.max(0, ...trace.segments.map((segment) => segment.units.length));
  const looks = new Uint8Array(columns * rows);
  for (const { segment, first } of places) {
    for (let iteration = 0; iteration < segment.steps.length; iteration++) {
      for (let unit = 0; unit < segment.units.length; unit++) {
        looks[unit * columns + first + iteration] = lookOf(segment, iteration, unit);
      }
    }
  }
  return { trace, columns, rows, places, looks };
}

function lookOf(segment, iteration, unit) {
  const step = segment.steps[iteration];
  const look = LOOK_OF_MODE[step.modes[unit]];
  if (look) return look;
  if (isForwarded(step, segment.units[unit])) return LOOK.context;
  return progressOf(segment, iteration, unit) > 0 ? LOOK.done : LOOK.waiting;
}

function isForwarded(step, [from, to]) {
  return step.modes.includes("R") && step.frames[0] < to && step.frames[1] > from;
}

/** 0: not started, 1..steps: about to take that step, steps + 1: done. */
export function progressOf(segment, iteration, unit) {
  return Math.min(Math.max(iteration + 1 - segment.ar_step * unit, 0), segment.sigmas.length);
}

/**
 * @param {Grid} grid
 * @returns {Cell|null} Null where there is no such iteration or unit.
 */
export function cellAt(grid, column, unit) {
  const place = grid.places.find(({ first, count }) => column >= first && column < first + count);
  if (!place || unit < 0 || unit >= place.segment.units.length) return null;
  const { segment } = place;
  const iteration = column - place.first;
  const step = segment.steps[iteration];
  const progress = progressOf(segment, iteration, unit);
  return {
    place,
    column,
    unit,
    mode: step?.modes[unit] ?? ".",
    rule: step?.rules[unit] ?? ".",
    progress,
    sigma: segment.sigmas[Math.max(progress - 1, 0)],
    score: step ? scoreOf(step, unit) : null,
    seconds: step?.seconds ?? null,
    look: grid.looks[unit * grid.columns + column],
  };
}

function scoreOf(step, unit) {
  if (step.modes[unit] === ".") return null;
  const advancingBefore = [...step.modes.slice(0, unit)].filter((mode) => mode !== ".").length;
  return step.scores[advancingBefore] ?? null;
}

/**
 * A cell in three lines: where it is, what happened there and why, and the numbers behind it.
 *
 * @param {Grid} grid
 * @param {Cell} cell
 * @returns {[string, string, string]}
 */
export function describeCell(grid, cell) {
  const advances = cell.look >= LOOK.recompute;
  return [
    describePosition(grid, cell),
    advances ? describeDecision(grid.trace, cell) : describeIdle(cell),
    [...(advances ? describeStep(grid.trace, cell) : []), ...describeTime(cell)].join(" "),
  ];
}

function describePosition(grid, { place, column, unit }) {
  const { segment } = place;
  const parts = [];
  if (grid.places.length > 1) parts.push(`segment ${grid.places.indexOf(place) + 1} of ${grid.places.length}`);
  parts.push(`iteration ${column + 1} of ${grid.columns}`);
  parts.push(`chunk ${unit + 1} of ${segment.units.length} (${framesInWords(segment, unit)})`);
  return capitalised(`${parts.join(", ")}.`);
}

function describeDecision(trace, { look, rule }) {
  return `${WORD_OF_LOOK[look]}: ${sentenceOf(trace, rule)}.`;
}

function describeIdle({ place, unit, look, progress }) {
  if (look === LOOK.empty) return "Not run yet.";
  const { segment } = place;
  const start = place.first + segment.ar_step * unit;
  const state =
    progress > 0
      ? `Finished at iteration ${start + segment.sigmas.length - 1}.`
      : `Not started; it begins at iteration ${start + 1}.`;
  return look === LOOK.context ? `${state} It went through the model as context and took no step.` : state;
}

function describeStep(trace, { place, progress, sigma, score }) {
  const step = `Step ${progress} of ${place.segment.sigmas.length - 1}, sigma ${decimal(sigma, 4)}.`;
  return score === null ? [step] : [step, describeScore(trace, score)];
}

function describeTime({ seconds }) {
  return seconds ? [`${duration(seconds)}.`] : [];
}

function sentenceOf(trace, rule) {
  return trace.rules?.[rule] ?? DEFAULT_RULES[rule] ?? `rule "${rule}"`;
}

function describeScore(trace, score) {
  const { tau_c, tau_p } = trace.run?.settings ?? {};
  const thresholds = [];
  if (typeof tau_c === "number") thresholds.push(`cache below ${decimal(tau_c)}`);
  if (typeof tau_p === "number") thresholds.push(`predict below ${decimal(tau_p)}`);
  return `Score ${decimal(score)}${thresholds.length ? ` (${thresholds.join(", ")})` : ""}.`;
}

/** Latent frames of a unit in the whole video, such as "5–9". */
export function frameRange(segment, unit) {
  const [from, to] = segment.units[unit];
  return rangeText(segment.start + from, segment.start + to);
}

/** Latent frames of a segment in the whole video. */
export function segmentRange(segment) {
  return rangeText(segment.start, segment.start + segment.frames);
}

function rangeText(from, to) {
  return to - from === 1 ? `${from}` : `${from}–${to - 1}`;
}

function framesInWords(segment, unit) {
  const range = frameRange(segment, unit);
  return `latent ${range.includes("–") ? "frames" : "frame"} ${range}`;
}

/**
 * The numbers above the picture. Evaluations and time stay apart: overheads make 2x fewer evaluations less than 2x faster.
 *
 * @param {Trace} trace
 * @returns {{evaluations: string, frames: string, time: string, note: string}}
 */
export function headlineOf(trace) {
  const running = !trace.totals;
  const totals = trace.totals ?? totalsSoFar(trace);
  const skipped = totals.computed < totals.iterations;
  return {
    evaluations: evaluationsText(totals) + (running ? " so far" : ""),
    frames: framesText(totals),
    time: timeText(totals, skipped),
    note: running || skipped ? "" : nothingSkippedText(trace, totals),
  };
}

function evaluationsText({ computed, iterations }) {
  const saved = computed > 0 && computed < iterations ? `, ${(iterations / computed).toFixed(2)}x fewer` : "";
  return `${computed} of ${iterations} evaluations${saved}`;
}

/** @param {Totals} totals */
function framesText({ frames_computed: computed, frames_baseline: baseline }) {
  if (!baseline) return "";
  const percent = Math.round((100 * computed) / baseline);
  return `${percent}% of the frames of a full run went through the model (${computed} of ${baseline})`;
}

/** @param {Totals} totals */
function timeText({ seconds, estimated_baseline_seconds: baseline }, skipped) {
  if (!seconds) return "";
  if (!baseline || !skipped) return duration(seconds);
  return `${duration(seconds)}; ${comparison(baseline / seconds)} computing every step`;
}

function comparison(speedup) {
  if (speedup >= 1.05) return `about ${speedup.toFixed(1)}x faster than`;
  if (speedup <= 1 / 1.05) return `about ${(1 / speedup).toFixed(1)}x slower than`;
  return "about as fast as";
}

function nothingSkippedText(trace, totals) {
  const reason = totals.skipped_reason || commonestRule(trace);
  return reason ? `Nothing was skipped. ${asSentence(reason)}` : "Nothing was skipped.";
}

function commonestRule(trace) {
  const counts = {};
  for (const { rules } of allSteps(trace)) {
    for (const rule of rules) if (rule !== ".") counts[rule] = (counts[rule] ?? 0) + 1;
  }
  const [commonest] = Object.keys(counts).sort((a, b) => counts[b] - counts[a]);
  return commonest && `Most often: ${sentenceOf(trace, commonest)}`;
}

/** @returns {Totals} */
function totalsSoFar(trace) {
  const steps = allSteps(trace);
  const computed = steps.filter((step) => step.modes.includes("R")).length;
  const seconds = steps.reduce((sum, step) => sum + (step.seconds ?? 0), 0);
  return { iterations: steps.length, computed, seconds };
}

function allSteps(trace) {
  return trace.segments.flatMap((segment) => segment.steps);
}

/**
 * How many unit steps were recomputed, predicted and cached.
 *
 * @param {Grid} grid
 * @returns {Record<number, number>} Counts by LOOK.
 */
export function countLooks(grid) {
  const counts = { [LOOK.recompute]: 0, [LOOK.predict]: 0, [LOOK.cache]: 0 };
  for (const look of grid.looks) if (look in counts) counts[look]++;
  return counts;
}

/**
 * Follow a run: add the step of one live event. A header of segment 0 starts a new run; steps of a segment whose header
 * was missed (the page was opened in mid-run) are left out.
 *
 * @param {Trace|null} trace
 * @param {StepEvent} event
 * @returns {Trace|null}
 */
export function applyStep(trace, event) {
  const [header, index] = typeof event.segment === "object" ? [event.segment, event.segment.index] : [null, event.segment];
  let live = trace && !trace.totals ? trace : null;
  if (header) {
    live = live && index > 0 ? live : emptyTrace();
    live.segments.push({ ...header, steps: [], planned: plannedIterations(header) });
    Object.assign(live.run, event.run);
    Object.assign(live.rules, event.rules);
  }
  const segment = live?.segments.find((candidate) => candidate.index === index);
  if (!segment) return trace;
  if (event.step) segment.steps.push(event.step);
  return live;
}

/** @returns {Trace} */
function emptyTrace() {
  return { format: FORMAT, version: VERSION, run: {}, rules: {}, segments: [] };
}

function plannedIterations({ sigmas, units, ar_step }) {
  return sigmas.length - 1 + (units.length - 1) * ar_step;
}

/** A number with so many significant digits, without trailing zeros. */
export function decimal(number, digits = 3) {
  return String(Number(number.toPrecision(digits)));
}

/** Seconds in words, such as "31 ms", "3.2 s" and "2 min 5 s". */
export function duration(seconds) {
  if (seconds < 0.9995) return `${decimal(seconds * 1000)} ms`;
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  return `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

function capitalised(text) {
  return text[0].toUpperCase() + text.slice(1);
}

function asSentence(text) {
  return `${capitalised(text.trim().replace(/\.$/, ""))}.`;
}
