/**
 * Reading a SCOPE trace: what each cell of the timeline is, and how to say it in words.
 * Nothing here touches the page, so it also runs in tests.
 *
 * @typedef {object} Step One iteration of a segment.
 * @property {string} modes A letter per unit: R recompute, C cache, P predict, "." takes no step.
 * @property {string} rules A letter per unit: the rule that fired (see `Trace.rules`), or ".".
 * @property {string|number[]} scores Accumulated discrepancy before the decision, of the advancing units in order: four digits
 *   ABCN each for ABC * 10^-N; plain numbers in version 1.
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
 * @property {boolean} [by_chunk] Units go through the model on their own, and each counts as an evaluation.
 * @property {[number, number][]} units Columns [from, to) of every unit.
 * @property {number[]} sigmas Noise levels, one more than there are steps.
 * @property {Step[]} steps
 * @property {number} [planned] Iterations to expect while the run is in progress.
 *
 * @typedef {object} Totals
 * @property {number} iterations Evaluations of a full run: its iterations, or its units' steps where they are forwarded on their own.
 * @property {number} computed Evaluations made.
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
 * @typedef {object} Place Where a segment lies.
 * @property {Segment} segment
 * @property {number} first Its first column.
 * @property {number} count Its columns.
 * @property {number} filled Its iterations whose looks are filled in.
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
export const VERSION = 3;

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
    places.push({ segment, first: columns, count, filled: 0 });
    columns += count;
  }
  const rows = Math.max(0, ...trace.segments.map((segment) => segment.units.length));
  return filledGrid({ trace, columns, rows, places, looks: new Uint8Array(columns * rows) });
}

/**
 * The grid of a trace that may have grown since: only new iterations are looked at while they fit in.
 *
 * @param {Grid|null} grid
 * @param {Trace} trace
 * @returns {Grid}
 */
export function grownGrid(grid, trace) {
  const fits =
    grid?.trace === trace &&
    grid.places.length === trace.segments.length &&
    grid.places.every(({ segment, count }) => segment.steps.length <= count);
  return fits ? filledGrid(grid) : gridOf(trace);
}

function filledGrid(grid) {
  for (const place of grid.places) {
    const { segment, first } = place;
    for (; place.filled < segment.steps.length; place.filled++) {
      const forwards = !segment.by_chunk && segment.steps[place.filled].modes.includes("R");
      for (let unit = 0; unit < segment.units.length; unit++) {
        grid.looks[unit * grid.columns + first + place.filled] = lookOf(segment, place.filled, unit, forwards);
      }
    }
  }
  return grid;
}

function lookOf(segment, iteration, unit, forwards) {
  const { modes, frames } = segment.steps[iteration];
  const look = LOOK_OF_MODE[modes[unit]];
  if (look) return look;
  const [from, to] = segment.units[unit];
  if (forwards && frames[0] < to && frames[1] > from) return LOOK.context;
  return progressOf(segment, iteration, unit) > 0 ? LOOK.done : LOOK.waiting;
}

/**
 * The active interval of a segment: what goes through the model where an iteration is computed.
 *
 * @param {Segment} segment
 * @returns {{from: number, to: number, rows: [number, number]}[]} Iterations [from, to) and the rows they cover.
 */
export function intervalsOf(segment) {
  const spans = [];
  segment.steps.forEach(({ frames }, iteration) => {
    const last = spans.at(-1);
    if (last?.frames[0] === frames[0] && last.frames[1] === frames[1]) last.to++;
    else spans.push({ from: iteration, to: iteration + 1, frames });
  });
  return spans.map(({ from, to, frames }) => ({ from, to, rows: frames.map((column) => rowOf(segment, column)) }));
}

/** Row at which a column lies, part of a unit included. */
function rowOf(segment, column) {
  return segment.units.reduce((row, [from, to]) => row + Math.min(Math.max((column - from) / (to - from), 0), 1), 0);
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

function scoreOf({ modes, scores }, unit) {
  if (modes[unit] === ".") return null;
  const advancingBefore = [...modes.slice(0, unit)].filter((mode) => mode !== ".").length;
  if (typeof scores !== "string") return scores[advancingBefore] ?? null;
  const code = scores.slice(4 * advancingBefore, 4 * advancingBefore + 4);
  return Number(`${code.slice(0, 3)}e-${code[3]}`);
}

/**
 * A cell in three lines: where and how long, what happened there and why, and the numbers behind it.
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
    advances ? describeStep(grid.trace, cell) : "",
  ];
}

function describePosition(grid, { place, column, unit, seconds }) {
  const { segment } = place;
  const parts = [];
  if (grid.places.length > 1) parts.push(`segment ${grid.places.indexOf(place) + 1} of ${grid.places.length}`);
  parts.push(`iteration ${column + 1} of ${grid.columns}${seconds ? ` (${duration(seconds)})` : ""}`);
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
  return score === null ? step : `${step} ${describeScore(trace, score)}`;
}

function sentenceOf(trace, rule) {
  return trace.rules?.[rule] ?? DEFAULT_RULES[rule] ?? `rule "${rule}"`;
}

function describeScore(trace, score) {
  const thresholds = thresholdsOf(trace.run?.settings ?? {});
  return `Score ${decimal(score)}${thresholds.length ? ` (${thresholds.join(", ")})` : ""}.`;
}

function thresholdsOf({ method = "scope", tau_c, tau_p, ...others }) {
  const limits = method === "scope" ? [["cache", tau_c], ["predict", tau_p]] : [["cache", others.threshold]];
  return limits.filter(([, limit]) => typeof limit === "number").map(([what, limit]) => `${what} below ${decimal(limit)}`);
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
 * @returns {{evaluations: string, frames: string, time: string, timing: string, note: string}} `frames` and `timing` explain
 *   `evaluations` and `time`.
 */
export function headlineOf(trace) {
  const running = !trace.totals;
  const totals = trace.totals ?? totalsSoFar(trace);
  const skipped = totals.computed < totals.iterations;
  const timed = totals.seconds > 0 && totals.estimated_baseline_seconds > 0;
  const compared = timed && (skipped || totals.frames_computed < totals.frames_baseline);
  return {
    evaluations: rivalText(trace) + evaluationsText(totals, trace.segments[0]?.by_chunk) + (running ? " so far" : ""),
    frames: framesText(totals),
    time: timeText(totals, compared),
    timing: compared ? timingText(totals) : "",
    note: running || skipped ? "" : nothingSkippedText(trace, totals),
  };
}

function rivalText({ run }) {
  return run?.method && !["scope", "off"].includes(run.method) ? `${run.method}: ` : "";
}

function evaluationsText({ computed, iterations }, byChunk) {
  const saved = computed > 0 && computed < iterations ? `, ${(iterations / computed).toFixed(2)}x fewer` : "";
  return `${computed} of ${iterations} ${byChunk ? "chunk evaluations" : "evaluations"}${saved}`;
}

/** @param {Totals} totals */
function framesText({ frames_computed: computed, frames_baseline: baseline }) {
  if (!baseline) return "";
  const percent = Math.round((100 * computed) / baseline);
  return `${percent}% of the frames of a full run went through the model (${computed} of ${baseline})`;
}

/** @param {Totals} totals */
function timeText({ seconds, estimated_baseline_seconds: baseline }, compared) {
  if (!seconds) return "";
  return compared ? `${duration(seconds)}, ${comparison(baseline / seconds)} computing every step` : duration(seconds);
}

/** @param {Totals} totals */
function timingText({ seconds, estimated_baseline_seconds: baseline }) {
  return (
    `Measured: this run's iterations took ${duration(seconds)}. Computing every step would have taken about ${duration(baseline)}, ` +
    "judged by the iterations of this run that were computed (without the first, which warms up)."
  );
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
  return commonest && `Most often because ${sentenceOf(trace, commonest)}`;
}

/** @returns {Totals} */
function totalsSoFar(trace) {
  let [iterations, computed, seconds] = [0, 0, 0];
  for (const { by_chunk: byChunk, steps } of trace.segments) {
    for (const step of steps) {
      iterations += byChunk ? countOf(step.modes, /[^.]/g) : 1;
      computed += byChunk ? countOf(step.modes, /R/g) : Number(step.modes.includes("R"));
      seconds += step.seconds ?? 0;
    }
  }
  return { iterations, computed, seconds };
}

function countOf(text, pattern) {
  return (text.match(pattern) ?? []).length;
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
  const counts = new Uint32Array(Object.keys(LOOK).length);
  for (const look of grid.looks) counts[look]++;
  return Object.fromEntries([LOOK.recompute, LOOK.predict, LOOK.cache].map((look) => [look, counts[look]]));
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

/** Whether a live event has the shape that Python sends; any other is to be left alone. */
export function isStepEvent({ segment, step }) {
  const isHeader = Array.isArray(segment?.units) && Array.isArray(segment.sigmas) && Number.isInteger(segment.index);
  return (isHeader || Number.isInteger(segment)) && typeof step?.modes === "string" && typeof step.rules === "string" && Array.isArray(step.frames);
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
