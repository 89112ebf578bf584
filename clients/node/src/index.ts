/** What callers and plugins have in common. */

export { Code, Fault, type FaultOptions, type Reason } from "./fault.js";
export { parseJson, stringifyJson } from "./json.js";
export { Payload } from "./payload.js";
