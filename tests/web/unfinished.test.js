// @vitest-environment jsdom
import { beforeEach, describe, expect, it, vi } from "vitest";

import { UnfinishedRuns, ageText, runText, sizeText } from "../../web/runs/unfinished.js";
import { stubPage } from "./page_stubs.js";

const RUN = { name: "0123456789abcdef", model: "Demo", seed: "7", frames: 40, made: 10, bytes: 13.4e6, changed: 1000 };
const settle = () => new Promise((resolve) => setTimeout(resolve));

beforeEach(() => {
  stubPage();
  HTMLDialogElement.prototype.showModal = vi.fn();
  HTMLDialogElement.prototype.close = function () {
    this.dispatchEvent(new Event("close"));
  };
});

describe("a run in words", () => {
  it("tells size and age", () => {
    expect([512, 13.4e6, 2.34e9].map(sizeText)).toEqual(["0.5 kB", "13 MB", "2.3 GB"]);
    expect([5, 90, 7200, 3 * 86400].map(ageText)).toEqual(["just now", "1 minute ago", "2 hours ago", "3 days ago"]);
  });

  it("tells what it is of and how far it came", () => {
    expect(runText(RUN, 1000 + 7200)).toBe("Demo, seed 7 · 25% of 40 latent frames · 13 MB · 2 hours ago");
    expect(runText({ ...RUN, made: 40 }, 1000)).toBe("Demo, seed 7 · finished, all 40 latent frames · 13 MB · just now");
    expect(runText({ ...RUN, model: "", frames: 0 }, 1000)).toBe("0123456789abcdef · cannot be read · 13 MB · just now");
  });
});

describe("the dialog", () => {
  it("lists runs, removes one and shows what is left", async () => {
    const removed = [];
    const remove = async (name) => {
      removed.push(name);
      return { runs: [], folder: "/user" };
    };
    const dialog = new UnfinishedRuns({ list: async () => ({ runs: [RUN], folder: "/user" }), remove });
    await dialog.open();
    expect(dialog.note.textContent).toContain("/user");
    dialog.rows.querySelector("button").click();
    await settle();
    expect(removed).toEqual([RUN.name]);
    expect(dialog.rows.children.length).toBe(0);
    expect(dialog.note.textContent).toContain("No run is kept");
    dialog.close();
    expect(document.querySelector("dialog")).toBe(null);
  });

  it("says why a run stays", async () => {
    const remove = async () => ({ runs: [RUN], folder: "/user", error: "0123456789abcdef stays: it is in work." });
    const dialog = new UnfinishedRuns({ list: async () => ({ runs: [RUN], folder: "/user" }), remove });
    await dialog.open();
    dialog.rows.querySelector("button").click();
    await settle();
    expect(dialog.note.textContent).toContain("it is in work");
    expect(dialog.rows.children.length).toBe(1);
  });
});
