import { describe, expect, it } from "vitest";

const modules = import.meta.glob("../../web/**/*.js");
const sources = Object.entries(import.meta.glob("../../web/**/*.js", { query: "?raw", import: "default", eager: true }));
const NEED_COMFYUI = /\/(scope|comfy_adapter|chart_actions|apply)\.js$/;

describe("ComfyUI imports every file below web/ on its own, so each of them", () => {
  it.each(Object.keys(modules).filter((path) => !NEED_COMFYUI.test(path)))("does nothing to a page when it is imported: %s", async (path) => {
    expect(globalThis.document).toBeUndefined();
    await modules[path]();
  });

  it.each(sources)("begins with what it is: %s", (_, source) => expect(source).toMatch(/^\/\*\*[\s*]+[A-Z]/));
});

describe("ComfyUI's frontend", () => {
  it("is touched by one file only", () => {
    const touching = sources.filter(([, source]) => /from "[^"]*scripts\/|window\.(app|comfyAPI)/.test(source));
    expect(touching.map(([path]) => path)).toEqual(["../../web/comfy_adapter.js"]);
  });
});
