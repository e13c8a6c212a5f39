import { beforeEach, describe, expect, it } from "vitest";

import { ScheduleWatch, follow, followNode } from "../../web/graph/family_defaults.js";

const DEFAULTS = {
  SCOPE_ARSchedule: { steps: 50, cfg: 6, shift: 8, solver: "unipc" },
  SCOPE_MagiSchedule: { steps: 64, cfg: 7.5, shift: 3, solver: "euler" },
};
const { SCOPE_ARSchedule: SKYREELS, SCOPE_MagiSchedule: MAGI } = DEFAULTS;

describe("follow", () => {
  it("moves untouched widgets to the defaults of the schedule", () => {
    expect(follow(DEFAULTS, { ...SKYREELS, seed: 7 }, "SCOPE_MagiSchedule")).toEqual(MAGI);
    expect(follow(DEFAULTS, { ...MAGI, seed: 7 }, "SCOPE_ARSchedule")).toEqual(SKYREELS);
  });

  it.each([
    ["widgets that are there already", MAGI, "SCOPE_MagiSchedule"],
    ["all of them where one was changed by hand", { ...SKYREELS, steps: 40 }, "SCOPE_MagiSchedule"],
    ["a mixture of two families", { ...SKYREELS, steps: 64 }, "SCOPE_MagiSchedule"],
    ["all of them where one is fed by a link", { steps: 50, shift: 8, solver: "unipc" }, "SCOPE_MagiSchedule"],
    ["a schedule that is not known here", SKYREELS, "SCOPE_NewerSchedule"],
  ])("leaves alone: %s", (_, values, schedule) => expect(follow(DEFAULTS, values, schedule)).toEqual({}));
});

describe("followNode", () => {
  const sampler = (steps, link, options = { defaults: DEFAULTS }) => ({
    constructor: { nodeData: { input: { optional: { schedule: ["SCOPE_SCHEDULE", options] } } } },
    widgets: Object.entries({ seed: 1, ...SKYREELS, steps }).map(([name, value]) => ({ name, value })),
    inputs: [{ name: "schedule" }, { name: "steps", widget: { name: "steps" } }],
    isInputConnected: (slot) => slot === 0 || link !== null,
  });

  it("reads the widgets that no link feeds", () => {
    expect(followNode(sampler(50, null), "SCOPE_MagiSchedule")).toEqual(MAGI);
    expect(followNode(sampler(40, null), "SCOPE_MagiSchedule")).toEqual({});
    expect(followNode(sampler(50, 9), "SCOPE_MagiSchedule")).toEqual({});
  });

  it("follows the family of a model that shares its schedule node with another", () => {
    const causal = { steps: 50, cfg: 3, shift: 5, solver: "unipc" };
    const node = sampler(50, null, { defaults: { ...DEFAULTS, causal_wan: causal } });
    expect(followNode(node, "causal_wan")).toEqual({ cfg: 3, shift: 5 });
    expect(followNode(node, "")).toEqual({});
    expect(followNode(node, undefined)).toEqual({});
  });

  it("does nothing where Python says no defaults", () => {
    expect(followNode(sampler(50, null, {}), "SCOPE_MagiSchedule")).toEqual({});
  });
});

describe("ScheduleWatch", () => {
  const [sampler, magi, ar] = [{}, {}, {}];
  /** @type {any[]} */
  let connected;
  let schedule;
  let watch;
  const happens = async (...events) => {
    for (const [event, node] of events) watch.note(event, node);
    await null;
    await null;
  };
  const link = (to) => {
    schedule = to;
    return ["linked", sampler];
  };

  beforeEach(() => {
    connected = [];
    schedule = null;
    watch = new ScheduleWatch(() => schedule, (...pair) => connected.push(pair));
  });

  it("tells once of each schedule that is connected", async () => {
    await happens(["created", sampler], ["created", magi]);
    await happens(link(magi));
    await happens(link(magi));
    expect(connected).toEqual([[sampler, magi]]);
    await happens(link(ar));
    await happens(link(null));
    await happens(link(ar));
    expect(connected.map(([, one]) => one)).toEqual([magi, ar, ar]);
  });

  it("tells of a schedule that is created for the sampler, or a sampler for the schedule", async () => {
    await happens(["created", sampler]);
    await happens(["created", magi], link(magi));
    expect(connected).toEqual([[sampler, magi]]);
    connected.length = 0;
    watch = new ScheduleWatch(() => schedule, (...pair) => connected.push(pair));
    await happens(["created", sampler], link(magi));
    expect(connected).toEqual([[sampler, magi]]);
  });

  it.each([
    ["a workflow", [["created", magi], ["created", sampler], ["linked", sampler], ["configured", sampler]]],
    ["a workflow in the API format", [["created", sampler], ["created", magi], ["linked", sampler]]],
    ["a copy, connected to the schedule of the original", [["created", sampler], ["configured", sampler], ["linked", sampler]]],
  ])("is silent about the schedule of %s, also when a reroute reports it again", async (_, events) => {
    schedule = magi;
    await happens(...events);
    await happens(["linked", sampler]);
    expect(connected).toEqual([]);
    await happens(link(ar));
    expect(connected).toEqual([[sampler, ar]]);
  });
});
