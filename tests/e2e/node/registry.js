// node registry.js CONNECTION_STRING: makes, changes and deletes devices; prints an object a step.
"use strict";

const { Registry } = require("azure-iothub");

const tell = (step, result) => console.log(JSON.stringify({ step, result }));
const failure = (promise) => promise.then(() => null, (error) => error.name);

async function main(connectionString) {
  const registry = Registry.fromConnectionString(connectionString);

  const { responseBody: created } = await registry.create({ deviceId: "node-1" });
  tell("create", created);
  tell("create again", await failure(registry.create({ deviceId: "node-1" })));
  tell("get", (await registry.get("node-1")).responseBody);

  await registry.create({ deviceId: "node-2" });
  tell("list", (await registry.list()).responseBody.map((device) => device.deviceId).sort());

  tell("update", (await registry.update({ ...created, status: "disabled", statusReason: "rest" })).responseBody);
  await registry.delete("node-2");
  tell("get what is deleted", await failure(registry.get("node-2")));
}

main(process.argv[2]).catch((error) => {
  console.error(error.stack);
  process.exit(1);
});
