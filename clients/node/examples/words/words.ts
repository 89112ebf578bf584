/** A plugin that counts words: `forgemesh up` in this folder runs it. */

import { main, OperationError, Plugin } from "forgemesh/plugin";
import { z } from "zod";

export const words = new Plugin("text.words", "1.0.0", { description: "Counts words." }).operation(
  "count",
  { input: z.object({ text: z.string() }), output: z.int(), idempotent: true },
  ({ text }) => {
    if (text === "") {
      throw new OperationError("TEXT_EMPTY", "there are no words to count");
    }
    return text.split(/\s+/).filter((word) => word !== "").length;
  },
);

if (process.argv[1]?.endsWith("words.js")) {
  await main(words);
}
