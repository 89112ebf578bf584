/** Where a host listens and whom it tells. */

import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import { textOf } from "./failure.js";
import { defaultInstanceId } from "./identity.js";
import { type Log, standardError } from "./log.js";

const PREFIX = "FORGEMESH_HOST_";
const LONGEST = 86_400_000;

/** All lengths are milliseconds. */
export interface Settings {
  /** host:port, for calls and for health alone. */
  listen: string;
  healthListen: string;
  /** The host name that others reach this one by; empty means the one it listens on. */
  advertise: string;
  /** Allows to listen beyond this machine without TLS. */
  insecure: boolean;
  /** Unique in the mesh; if it is empty it is made up from the plugin's id and the process number. */
  instanceId: string;
  /** Told to the registry: the section of forgemesh.toml, and what successive processes have in common. */
  name: string;
  tenure: string;
  /** host:port; empty means not to register, and to send no spans there. */
  registry: string;
  traces: string;
  /** Called back with the token that it gave this process; the file says where a successor of it is. */
  supervisor: string;
  token: string;
  supervisorFile: string;
  /** Lets the host outlive its supervisor, and look for a new one for so long. */
  reattach: boolean;
  reattachFor: number;
  /** Lets a restarted process take over the registration of its predecessor. */
  ownerToken: string;
  /** That of the plugin. */
  ownerKey: string;
  /** How many calls without a credit may wait. */
  queue: number;
  /** How long a registration lasts without renewal. */
  leaseTtl: number;
  /** What running calls have at the end. */
  grace: number;
  /** The file of the plugin's configuration as JSON, for a host without a supervisor. */
  config: string;
  log: Log;
}

const DEFAULTS: Settings = {
  listen: "127.0.0.1:0",
  healthListen: "127.0.0.1:0",
  advertise: "",
  insecure: false,
  instanceId: "",
  name: "",
  tenure: "",
  registry: "",
  traces: "",
  supervisor: "",
  token: "",
  supervisorFile: "",
  reattach: false,
  reattachFor: 30_000,
  ownerToken: "",
  ownerKey: "",
  queue: 64,
  leaseTtl: 15_000,
  grace: 5000,
  config: "",
  log: standardError,
};

/** Those that are given, and defaults for the others; throws with everything that is wrong. */
export function completed(given: Partial<Settings>, plugin: string): Settings {
  const settings = { ...DEFAULTS, ...given };
  refuse(mistakesIn(settings));
  settings.instanceId ||= defaultInstanceId(plugin);
  settings.ownerToken ||= randomBytes(16).toString("hex");
  return settings;
}

/** Reads FORGEMESH_HOST_*, and takes the secrets out of the environment; throws with everything that is wrong. */
export function settingsOf(environment: NodeJS.ProcessEnv): Partial<Settings> {
  const mistakes: string[] = [];
  const text = (name: string) => environment[PREFIX + name];
  const secret = (name: string) => {
    const value = text(name);
    delete environment[PREFIX + name]; // neither the plugin nor what it starts is to know it
    return value;
  };
  const length = (name: string) => {
    const given = text(name) || undefined;
    const value = given === undefined ? undefined : Number(given) * 1000;
    if (value !== undefined && !(value >= 0 && value <= LONGEST)) {
      mistakes.push(`${PREFIX}${name} = "${given}" is not between 0 and 86400 seconds`);
    }
    return value;
  };
  const truth = (name: string) => {
    const given = text(name)?.toLowerCase() ?? "";
    if (!["", "0", "1", "false", "true"].includes(given)) {
      mistakes.push(`${PREFIX}${name} = "${given}" is neither true nor false`);
    }
    return given === "1" || given === "true";
  };
  const settings: Partial<Settings> = present({
    listen: text("LISTEN"),
    healthListen: text("HEALTH_LISTEN"),
    advertise: text("ADVERTISE"),
    insecure: truth("INSECURE"),
    instanceId: text("INSTANCE_ID"),
    name: text("NAME"),
    tenure: text("TENURE"),
    registry: text("REGISTRY"),
    traces: text("TRACES"),
    supervisor: text("SUPERVISOR"),
    token: secret("TOKEN"),
    supervisorFile: text("SUPERVISOR_FILE"),
    reattach: truth("REATTACH"),
    reattachFor: length("REATTACH_SECONDS"),
    ownerToken: secret("OWNER_TOKEN"),
    leaseTtl: length("LEASE_TTL"),
    grace: length("GRACE"),
    config: text("CONFIG"),
  });
  const file = text("OWNER_KEY_FILE");
  if (file) {
    try {
      settings.ownerKey = readFileSync(file, "utf8").trim();
    } catch (error) {
      mistakes.push(`${PREFIX}OWNER_KEY_FILE: ${textOf(error)}`);
    }
  }
  const queue = text("QUEUE_LIMIT");
  if (queue) {
    settings.queue = Number(queue);
    if (!Number.isInteger(settings.queue) || settings.queue < 0) {
      mistakes.push(`${PREFIX}QUEUE_LIMIT = "${queue}" is no number of calls`);
    }
  }
  refuse([...mistakes, ...mistakesIn({ ...DEFAULTS, ...settings })]);
  return settings;
}

function present<T extends object>(given: { [key in keyof T]: T[key] | undefined }): Partial<T> {
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) as Partial<T>;
}

function refuse(mistakes: string[]): void {
  if (mistakes.length > 0) {
    throw new Error(mistakes.join("; "));
  }
}

function mistakesIn(settings: Settings): string[] {
  const mistakes: string[] = [];
  if (settings.supervisor !== "" && (settings.token === "" || settings.instanceId === "")) {
    mistakes.push(`supervisor = "${settings.supervisor}" needs a token and an instance id beside it`);
  }
  if (settings.supervisor !== "" && settings.config !== "") {
    mistakes.push(`config = "${settings.config}" beside a supervisor, which gives the configuration itself`);
  }
  if (!(settings.leaseTtl >= 1000 && settings.leaseTtl <= 600_000)) {
    mistakes.push(`lease_ttl = ${settings.leaseTtl / 1000} is not between 1 and 600 seconds`);
  }
  for (const [name, address] of [
    ["listen", settings.listen],
    ["health_listen", settings.healthListen],
  ] as const) {
    const host = /^\[?(.*?)\]?:\d+$/.exec(address)?.[1];
    if (host === undefined) {
      mistakes.push(`${name} = "${address}" is not host:port`);
    } else if (!settings.insecure && !isOfThisMachine(host)) {
      mistakes.push(
        `${name} = "${address}" is reached from beyond this machine, and nothing is encrypted there; set ${PREFIX}INSECURE=true if that is meant`,
      );
    }
  }
  return mistakes;
}

function isOfThisMachine(host: string): boolean {
  return host === "localhost" || host === "::1" || (isIP(host) === 4 && host.startsWith("127."));
}
