/**
 * Presets and sliders in step: a preset moves its widgets, moving one of them by hand makes it "custom". The one that was moved
 * counts: aims, such as a speed, that would overrule it go to 0.
 *
 * @typedef {{presets: Record<string, Record<string, any>>, aims?: string[]}} Points Values of the widgets by preset, "custom" has
 *   none; and those widgets that overrule the others unless they are 0.
 */

const CUSTOM = "custom";

/**
 * What has to change for the preset and its widgets to agree.
 *
 * @param {Points} points
 * @param {Record<string, any>} values Of the widgets, `preset` among them.
 * @param {string} [moved] The widget that was moved by hand. Without one, as after loading, the preset wins.
 * @returns {Record<string, any>} New values of some widgets.
 */
export function settle({ presets, aims = [] }, values, moved) {
  const wanted = presets[values.preset] ?? {};
  const changes = Object.entries(wanted).filter(([name, value]) => name in values && values[name] !== value);
  const isByHand = moved !== undefined && Object.values(presets).some((set) => moved in set);
  if (!isByHand || !(changes.length || values.preset === CUSTOM)) return Object.fromEntries(changes);
  const isAim = aims.includes(moved);
  const overruling = aims.filter((name) => name !== moved && values[name] && (values[moved] || !isAim));
  return { ...(changes.length ? { preset: CUSTOM } : {}), ...Object.fromEntries(overruling.map((name) => [name, 0])) };
}

/** The same for a node, whose widgets may have a prefix, as in "method.preset". @param {any} node @param {string} [moved] */
export function settleNode(node, moved = "") {
  const found = pointsOf(node);
  if (!found) return {};
  const { prefix, points } = found;
  /** @type {{name: string, value: any}[]} */
  const widgets = node.widgets;
  const own = widgets.filter(({ name }) => name.startsWith(prefix)).map(({ name, value }) => [name.slice(prefix.length), value]);
  const changes = settle(points, Object.fromEntries(own), moved.slice(prefix.length));
  return Object.fromEntries(Object.entries(changes).map(([name, value]) => [prefix + name, value]));
}

/**
 * Aims that a node was saved without, by an earlier version: they are 0, whatever a new node stands at.
 *
 * @param {any} node
 * @param {{widgets_values?: any[]}} saved Values in the order of the widgets; those that came later are at the end.
 * @returns {Record<string, any>} New values of some widgets.
 */
export function lackingAims(node, { widgets_values: values }) {
  const found = pointsOf(node);
  if (!found || !Array.isArray(values)) return {};
  const aims = new Set(found.points.aims?.map((name) => found.prefix + name));
  const widgets = node.widgets.filter((/** @type {any} */ { serialize }) => serialize !== false);
  const lacking = widgets.slice(values.length).filter((/** @type {any} */ { name }) => aims.has(name));
  return Object.fromEntries(lacking.map((/** @type {any} */ { name }) => [name, 0]));
}

/**
 * What stands before the names of a node's widgets, and the points of its method; null where it has none.
 *
 * @param {any} node
 * @returns {{prefix: string, points: Points}|null}
 */
function pointsOf({ widgets, constructor: { nodeData } }) {
  const preset = widgets.find((/** @type {any} */ { name }) => /(^|\.)preset$/.test(name));
  if (!preset) return null;
  const method = widgets.find((/** @type {any} */ { name }) => name === "method")?.value;
  const { required } = nodeData.input;
  const inputs = required.method ? required.method[1].options.find((/** @type {any} */ { key }) => key === method).inputs : { required };
  return { prefix: preset.name.slice(0, -"preset".length), points: (inputs.required?.preset ?? inputs.optional?.preset)[1] };
}
