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
  /** @type {{name: string, value: any}[]} */
  const widgets = node.widgets;
  const prefix = widgets.find(({ name }) => /(^|\.)preset$/.test(name))?.name.slice(0, -"preset".length);
  if (prefix === undefined) return {};
  const own = widgets.filter(({ name }) => name.startsWith(prefix)).map(({ name, value }) => [name.slice(prefix.length), value]);
  const method = widgets.find(({ name }) => name === "method")?.value;
  const changes = settle(pointsOf(node.constructor.nodeData, method), Object.fromEntries(own), moved.slice(prefix.length));
  return Object.fromEntries(Object.entries(changes).map(([name, value]) => [prefix + name, value]));
}

/** @param {any} nodeData What Python says about the class. @param {string} method Of the node, where it has several. @returns {Points} */
function pointsOf({ input: { required } }, method) {
  const inputs = required.method ? required.method[1].options.find((/** @type {any} */ { key }) => key === method).inputs : { required };
  return (inputs.required?.preset ?? inputs.optional?.preset)[1];
}
