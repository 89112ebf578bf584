// A client with nothing but grpc-js and grpc-js-xds in it; tests/stock_client.py says what it reads and writes.
'use strict';

const grpc = require('@grpc/grpc-js');
require('@grpc/grpc-js-xds').register();

const client = new grpc.Client(process.argv[2], grpc.credentials.createInsecure());
const asIs = (bytes) => bytes;

function answer(asked, number) {
  const headers = new grpc.Metadata({ waitForReady: asked.wait });
  for (const [name, value] of Object.entries(asked.headers)) headers.set(name, value.replaceAll('%i', String(number)));
  const deadline = Date.now() + asked.seconds * 1000;
  return new Promise((resolve) => {
    client.makeUnaryRequest('/test.Who/Who', asIs, asIs, Buffer.alloc(0), headers, { deadline }, (error, told) =>
      resolve(error ? grpc.status[error.code] : told.toString()),
    );
  });
}

async function answers(asked) {
  const found = {};
  let next = 0;
  async function worker() {
    while (next < asked.calls) {
      const one = await answer(asked, next++);
      found[one] = (found[one] ?? 0) + 1;
    }
  }
  await Promise.all(Array.from({ length: asked.concurrent }, worker));
  return found;
}

async function main() {
  for await (const line of require('node:readline').createInterface({ input: process.stdin })) {
    console.log(JSON.stringify(await answers(JSON.parse(line))));
  }
}

main();
