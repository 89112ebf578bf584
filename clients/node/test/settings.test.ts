import assert from "node:assert/strict";
import { test } from "node:test";
import { completed, settingsOf } from "../src/plugin/settings.js";

test("every mistake in the environment is told", () => {
  const environment = {
    FORGEMESH_HOST_QUEUE_LIMIT: "-1",
    FORGEMESH_HOST_GRACE: "NaN",
    FORGEMESH_HOST_REATTACH: "perhaps",
    FORGEMESH_HOST_LISTEN: "0.0.0.0:1",
    FORGEMESH_HOST_HEALTH_LISTEN: "nowhere",
    FORGEMESH_HOST_LEASE_TTL: "0.5",
    FORGEMESH_HOST_OWNER_KEY_FILE: "/no/such/file",
    FORGEMESH_HOST_SUPERVISOR: "127.0.0.1:1",
  };

  assert.throws(
    () => settingsOf(environment),
    ({ message }: Error) =>
      ["QUEUE_LIMIT", "GRACE", "REATTACH", "0.0.0.0:1", "nowhere", "lease_ttl", "/no/such/file", "needs a token"].every(
        (said) => message.includes(said),
      ),
  );
});

test("secrets are taken out of the environment", () => {
  const environment: NodeJS.ProcessEnv = { FORGEMESH_HOST_TOKEN: "secret", FORGEMESH_HOST_OWNER_TOKEN: "owner" };

  const { token, ownerToken } = settingsOf(environment);

  assert.deepEqual([token, ownerToken, Object.keys(environment)], ["secret", "owner", []]);
});

test("a zero that is said is not a default", () => {
  const said = completed(settingsOf({ FORGEMESH_HOST_QUEUE_LIMIT: "0", FORGEMESH_HOST_GRACE: "0" }), "test");
  const unsaid = completed(settingsOf({}), "test");

  assert.deepEqual([said.queue, said.grace, unsaid.queue, unsaid.grace], [0, 0, 64, 5000]);
});

test("ports beyond this machine need a word of consent", () => {
  for (const listen of ["127.0.0.1:0", "127.1.2.3:0", "localhost:0", "[::1]:0"]) {
    assert.equal(completed({ listen }, "test").listen, listen);
  }
  for (const listen of ["0.0.0.0:0", "[::]:0", "10.0.0.1:0", "example.org:0"]) {
    assert.throws(() => completed({ listen }, "test"), /INSECURE/);
    assert.equal(completed({ listen, insecure: true }, "test").listen, listen);
  }
});
