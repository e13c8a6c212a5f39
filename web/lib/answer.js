/** What Python said, whatever the status of its answer. */

import { t } from "./language.js";

/**
 * The answer's JSON; `{error}` with a sentence where it is not ours, as from a proxy or a server that fails.
 *
 * @param {Response} response
 * @returns {Promise<any>}
 */
export async function answerOf(response) {
  const answer = await response.json().catch(() => null);
  if (answer && (response.ok || typeof answer.error === "string")) return answer;
  const status = [response.status, response.statusText].filter(Boolean).join(" ");
  return { error: t("ComfyUI answered with {status} instead of a plan. Its log may say why.", { status }) };
}
