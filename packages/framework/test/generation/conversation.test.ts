import { PassThrough } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { AutoModelForCausalLM, getPeftModel, LoraConfig } from "@fms-accel/models";
import { fixturePath } from "@fms-accel/test-utilities";
import { describe, expect, it } from "vitest";
import { createTerminal } from "../../src/cli/terminal.ts";
import { AdapterSwitch } from "../../src/generation/adapter-switch.ts";
import { converse, type ConversationPartner } from "../../src/generation/conversation.ts";
import type { Prompt, PromptMessage } from "../../src/generation/prompts.ts";
import { captureTerminal } from "../cli/captured-terminal.ts";

/** Answers with the number of the question, and notes what it was asked. */
function partner(): ConversationPartner & { asked: Prompt[] } {
  const asked: Prompt[] = [];
  return {
    asked,
    async respond([prompt], { onText }) {
      if (prompt !== undefined) asked.push(prompt);
      const text = `answer ${asked.length}`;
      onText?.(text);
      return [{ prompt: "", text, promptTokens: 1, newTokens: 2, finishReason: "eos" }];
    },
  };
}

function user(content: string): PromptMessage {
  return { role: "user", content };
}

describe("a conversation", () => {
  it("remembers its turns, forgets them on /reset and ends with /exit", async () => {
    const { terminal, output } = captureTerminal({ input: "one\ntwo\n/reset\nthree\n/exit\nfour\n" });
    const talk = partner();
    await converse(talk, terminal, { chat: true, system: "be brief" });
    const system = { role: "system", content: "be brief" };
    expect(talk.asked).toEqual([
      { kind: "chat", messages: [system, user("one")] },
      { kind: "chat", messages: [system, user("one"), { role: "assistant", content: "answer 1" }, user("two")] },
      { kind: "chat", messages: [system, user("three")] },
    ]);
    expect(output()).toContain("answer 3\n");
  });

  it("goes on with every line on its own without a chat template; a backslash joins lines", async () => {
    const { terminal, output } = captureTerminal({ input: "once \\\nupon\n/nothing here\n/help\n" });
    const talk = partner();
    await converse(talk, terminal, { chat: false, system: null });
    expect(talk.asked).toEqual([{ kind: "text", text: "once \nupon" }]);
    expect(output()).toContain("There is no command /nothing;");
    expect(output()).toContain("/reset  forget");
  });

  it("chooses adapters between answers", async () => {
    const base = await AutoModelForCausalLM.fromPretrained(fixturePath("models", "llama"));
    const model = getPeftModel(base, new LoraConfig({ r: 2 }));
    model.addAdapter(new LoraConfig({ r: 3 }), { adapterName: "adapter_2" });
    const lines = ["/adapter", "/adapter 2", "one", "/adapter all", "/adapter none", "/adapter 3", "/help", "/exit"];
    const { terminal, output } = captureTerminal({ input: `${lines.join("\n")}\n` });
    const talk = partner();
    const used: string[][] = [];
    const watching: ConversationPartner = {
      respond: (prompts, options) => {
        used.push([...model.activeAdapters]);
        return talk.respond(prompts, options);
      },
    };
    await converse(watching, terminal, { chat: true, system: null, adapters: new AdapterSwitch(model, ["a", "b"]) });
    expect(used).toEqual([["adapter_2"]]);
    const lists = ["* 1  a\n  2  b\n", "  1  a\n* 2  b\n", "* 1  a\n* 2  b\n", "  1  a\n  2  b\n"];
    for (const list of lists) expect(output()).toContain(list);
    expect(output()).toContain("There is no adapter 3.");
    expect(output()).toContain("/adapter 2  answer with");
    expect(model.activeAdapters).toEqual([]);
  });

  it("stops an answer at Ctrl-C and forgets the question", async () => {
    const input = Object.assign(new PassThrough(), { isTTY: true });
    const output = Object.assign(new PassThrough(), { isTTY: true, columns: 80 });
    const notes = new PassThrough();
    let printed = "";
    notes.on("data", (chunk: Buffer) => (printed += chunk.toString()));
    output.resume();
    const asked: Prompt[] = [];
    const slow: ConversationPartner = {
      async respond([prompt], { signal }) {
        if (prompt !== undefined) asked.push(prompt);
        if (asked.length > 1) return [{ prompt: "", text: "ok", promptTokens: 1, newTokens: 1, finishReason: "eos" }];
        await sleep(10_000, undefined, signal === undefined ? {} : { signal });
        return [];
      },
    };
    const done = converse(slow, createTerminal({ input, output, notes }, { NO_COLOR: "1" }), {
      chat: true,
      system: null,
    });
    input.write("long question\n");
    await expect.poll(() => asked.length).toBe(1);
    input.write("\u0003");
    await expect.poll(() => printed).toContain("(stopped)");
    input.write("next\n");
    await expect.poll(() => asked.length).toBe(2);
    input.end("\u0004");
    await done;
    expect(asked[1]).toEqual({ kind: "chat", messages: [{ role: "user", content: "next" }] });
  });
});
