import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { ServerUnaryCall, sendUnaryData } from "@grpc/grpc-js";
import {
  type DeregisterInstanceRequest,
  DeregisterInstanceResponse,
  PublishManifestResponse,
  type RegisterInstanceRequest,
  RegisterInstanceResponse,
  RegistryServiceService,
  RenewLeaseResponse,
} from "../src/api/forgemesh/api/registry/v1/registry_service.js";
import { Code, Fault } from "../src/fault.js";
import { Plugin } from "../src/plugin/index.js";
import { TestHost } from "../src/testing/index.js";
import { Mailbox, served } from "./servers.js";

const echo = () => new Plugin("test.echo", "1.0.0", { weight: 3 }).operation("echo", {}, (given) => given);

/** A registry that answers as a test tells it to. */
class Registry {
  readonly registered = new Mailbox<RegisterInstanceRequest>();
  readonly renewed = new Mailbox<true>();
  readonly left = new Mailbox<DeregisterInstanceRequest>();
  readonly refusals: { publish: Fault[]; register: Fault[]; renew: Fault[] } = { publish: [], register: [], renew: [] };
  #incarnation = 40n;

  async start(t: TestContext): Promise<string> {
    return await served(t, RegistryServiceService, {
      publishManifest: (_: unknown, answer: sendUnaryData<PublishManifestResponse>) =>
        answering(answer, PublishManifestResponse.create(), this.refusals.publish),
      registerInstance: (
        call: ServerUnaryCall<RegisterInstanceRequest, RegisterInstanceResponse>,
        answer: sendUnaryData<RegisterInstanceResponse>,
      ) => {
        this.#incarnation++;
        const instance = { ...call.request.instance, incarnation: this.#incarnation };
        answering(answer, RegisterInstanceResponse.fromPartial({ instance }), this.refusals.register);
        this.registered.put(call.request);
      },
      renewLease: (_: unknown, answer: sendUnaryData<RenewLeaseResponse>) => {
        answering(answer, RenewLeaseResponse.create(), this.refusals.renew);
        this.renewed.put(true);
      },
      deregisterInstance: (
        call: ServerUnaryCall<DeregisterInstanceRequest, DeregisterInstanceResponse>,
        answer: sendUnaryData<DeregisterInstanceResponse>,
      ) => {
        this.left.put(call.request);
        answer(null, DeregisterInstanceResponse.create());
      },
    });
  }
}

function answering<Answer>(answer: sendUnaryData<Answer>, response: Answer, refusals: Fault[]): void {
  const refusal = refusals.shift();
  refusal ? answer(refusal.toStatus()) : answer(null, response);
}

test("a host without a supervisor registers, and leaves in two steps", async (t) => {
  const registry = new Registry();
  const host = await TestHost.start(echo(), { registry: await registry.start(t), queue: 8, ownerKey: "key" });

  const { instance, ownerToken, ownerKey, ttl } = await registry.registered.take();
  const answer = await host.call("echo", 1, { incarnation: 41n });
  await host.stop();
  const farewells = [await registry.left.take(), await registry.left.take()];

  assert.deepEqual(
    [instance?.instanceId, instance?.address, instance?.session, instance?.maxInFlight, instance?.weight],
    ["test", host.address, true, 24, 3],
  );
  assert.deepEqual([ownerToken.length, ownerKey, ttl?.seconds, answer], [32, "key", 15n, 1]);
  assert.deepEqual(
    farewells.map(({ drain, incarnation }) => [drain, incarnation]),
    [
      [true, 41n],
      [false, 41n],
    ],
  );
});

test("a lease that is lost is followed by another registration, and both incarnations are this process", async (t) => {
  const registry = new Registry();
  registry.refusals.renew.push(
    new Fault("", "away", { code: Code.UNAVAILABLE }),
    new Fault("LEASE_NOT_FOUND", "register it again", { code: Code.NOT_FOUND }),
  );
  const host = await TestHost.start(echo(), { registry: await registry.start(t), leaseTtl: 1000 });
  t.after(() => host.stop());

  await registry.registered.take();
  await registry.registered.take();
  await registry.renewed.take();

  assert.equal(await host.call("echo", 1, { incarnation: 41n }), 1);
  assert.equal(await host.call("echo", 1, { incarnation: 42n }), 1);
  await assert.rejects(host.call("echo", 1, { incarnation: 43n }), { reason: "WRONG_INCARNATION" });
});

test("a registry that is away is asked again until it is there", async (t) => {
  const registry = new Registry();
  const away = new Fault("", "away", { code: Code.UNAVAILABLE });
  registry.refusals.publish.push(away, away);
  registry.refusals.register.push(away);

  const host = await TestHost.start(echo(), { registry: await registry.start(t) });
  await host.stop();

  assert.equal((await registry.left.take()).incarnation, 42n);
});

test("a refusal that repeating does not mend ends the host with it", async (t) => {
  const registry = new Registry();
  registry.refusals.publish.push(
    new Fault("MANIFEST_CONFLICT", "1.0.0 was published with another manifest", { code: Code.ALREADY_EXISTS }),
  );

  await assert.rejects(
    TestHost.start(echo(), { registry: await registry.start(t) }),
    /cannot register test at .*: 1\.0\.0 was published with another manifest/,
  );
});

test("an id that a living process holds is given up, one that a dead one holds is waited for", async (t) => {
  const owned = (renewals: number) =>
    new Fault("INSTANCE_OWNED_BY_OTHER", "somebody else has it", {
      code: Code.ALREADY_EXISTS,
      metadata: { incarnation: "7", renewals: String(renewals) },
    });
  const [alive, dead] = [new Registry(), new Registry()];
  alive.refusals.register.push(owned(1), owned(2));
  dead.refusals.register.push(owned(1), owned(1), owned(1));

  await assert.rejects(TestHost.start(echo(), { registry: await alive.start(t) }), /somebody else has it/);
  const host = await TestHost.start(echo(), { registry: await dead.start(t) });
  await host.stop();
});
