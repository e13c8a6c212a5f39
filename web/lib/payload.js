/** What Python sends to a widget names its format and version; whatever else arrives becomes one sentence to show. */

/** Its message is for the user. */
export class PayloadError extends Error {}

/**
 * @param {any} payload
 * @param {{format: string, version: number, name: string}} expected `name` as in "This is not a SCOPE comparison."
 */
export function readPayload(payload, { format, version, name }) {
  if (payload?.format !== format) throw new PayloadError(`This is not a SCOPE ${name}.`);
  if (payload.version > version) {
    const versions = `format version ${payload.version}, and this widget reads up to ${version}`;
    throw new PayloadError(`This ${name} has ${versions}. Update SCOPE to see it.`);
  }
  return payload;
}

/**
 * @template T
 * @param {() => T} read
 * @returns {{value: T, problem: ""} | {value: null, problem: string}} What was read, or the sentence that says why nothing was.
 */
export function readOrExplain(read) {
  try {
    return { value: read(), problem: "" };
  } catch (error) {
    if (!(error instanceof PayloadError)) throw error;
    return { value: null, problem: error.message };
  }
}
