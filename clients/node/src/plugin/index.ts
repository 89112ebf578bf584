/** Serves operations to a mesh: a plugin written in TypeScript or JavaScript. */

export { Code, Fault } from "../fault.js";
export { Payload } from "../payload.js";
export type { Call } from "./call.js";
export { type FailOptions, OperationError } from "./failure.js";
export type { Level, Log } from "./log.js";
export {
  type Need,
  OnLoss,
  type OperationOptions,
  Plugin,
  type PluginOptions,
  type Served,
  type State,
} from "./plugin.js";
export { type JsonSchema, type Raw, raw, type Schema } from "./schema.js";
export { main, type ServeOptions, type Serving, serve } from "./serve.js";
export { type Settings, settingsOf } from "./settings.js";
