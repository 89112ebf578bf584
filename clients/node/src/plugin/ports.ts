/** The two ports that a host listens on: one for calls, one for health and load alone. */

import { type AddressInfo, createServer, type Server as Listener } from "node:net";
import { Server, ServerCredentials } from "@grpc/grpc-js";
import { HealthImplementation } from "grpc-health-check";
import type { Manifest } from "../api/forgemesh/api/plugin/v1/manifest.js";
import { PluginServiceService } from "../api/forgemesh/api/plugin/v1/plugin_service.js";
import type { Host } from "./host.js";
import type { LoadMeter } from "./load.js";
import { pluginService } from "./service.js";
import type { Sessions } from "./session.js";
import type { Settings } from "./settings.js";

/** Those under which health is asked for, beside liveness and startup. */
const SERVING_NAMES = ["", "readiness", "forgemesh.api.plugin.v1.PluginService"];
const MESSAGE_LIMIT = 4 << 20;
/** Milliseconds that the answers of finished calls have to leave the process. */
const LAST_RESPONSES = 500;

export class Ports {
  readonly #health = new HealthImplementation({ liveness: "SERVING", startup: "NOT_SERVING" });
  // A server of grpc-js takes as many pings as come: the mesh sends one every five seconds.
  readonly #main = new Server({
    "grpc.max_receive_message_length": MESSAGE_LIMIT,
    "grpc.max_send_message_length": MESSAGE_LIMIT,
  });
  readonly #beside = new Server();
  readonly #listeners: Listener[] = [];
  address = "";
  healthAddress = "";

  constructor(host: Host, sessions: Sessions, load: LoadMeter, manifest: Manifest) {
    this.#main.addService(PluginServiceService, pluginService(host, sessions, load, manifest));
    for (const server of [this.#main, this.#beside]) {
      this.#health.addToServer(server);
      load.recorder.addToServer(server);
    }
    this.ready(false);
  }

  /** Listens; rejects with why it cannot. */
  async open({ listen, healthListen, advertise }: Settings): Promise<void> {
    this.#listeners.push(await bound(this.#main, listen), await bound(this.#beside, healthListen));
    const [main, beside] = this.#listeners as [Listener, Listener];
    this.address = reachable(listen, main, advertise);
    this.healthAddress = reachable(healthListen, beside, advertise);
  }

  /** Says whether calls are to come here. */
  ready(isReady: boolean): void {
    for (const name of SERVING_NAMES) {
      this.#health.setStatus(name, isReady ? "SERVING" : "NOT_SERVING");
    }
    if (isReady) {
      this.#health.setStatus("startup", "SERVING"); // and once for all
    }
  }

  /** Lets the last answers leave. */
  async close(): Promise<void> {
    for (const listener of this.#listeners) {
      listener.close();
    }
    await new Promise<void>((resolve) => {
      const impatience = setTimeout(resolve, LAST_RESPONSES);
      this.#main.tryShutdown(() => {
        clearTimeout(impatience);
        resolve();
      });
    });
    this.#main.forceShutdown();
    this.#beside.forceShutdown();
  }
}

/**
 * A socket whose small messages leave at once: a server that grpc-js binds by itself holds an answer back until the one
 * before it is acknowledged, which takes 40 ms.
 */
function bound(server: Server, address: string): Promise<Listener> {
  const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
  const listener = createServer({ noDelay: true }, (socket) => injector.injectConnection(socket));
  const [, host = "", port] = /^\[?(.*?)\]?:(\d+)$/.exec(address) ?? [];
  return new Promise((resolve, reject) => {
    listener.once("error", (error) => reject(new Error(`cannot listen on ${address}: ${error.message}`)));
    listener.listen(Number(port), host, () => resolve(listener));
  });
}

function reachable(listen: string, listener: Listener, advertise: string): string {
  const { port } = listener.address() as AddressInfo;
  return `${advertise || listen.slice(0, listen.lastIndexOf(":"))}:${port}`;
}
