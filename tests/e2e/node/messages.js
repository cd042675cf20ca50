// node messages.js CONNECTION_STRING: sends to mast-1, to mast-2, which is not there in time, and to mast-7, which
// does not exist; prints an object for each, and for each record of feedback, and ends after the second record.
"use strict";

const { Client } = require("azure-iothub");
const { Message } = require("azure-iot-common");

const tell = (step, result) => console.log(JSON.stringify({ step, result }));

function message(messageId, seconds) {
  const made = new Message("hello");
  made.messageId = messageId;
  made.correlationId = "correlation_1";
  made.contentType = "text/plain";
  made.ack = "full";
  made.expiryTimeUtc = Date.now() + 1000 * seconds;
  made.properties.add("site", "north ridge");
  return made;
}

// until `count` records have come
function feedback(receiver, count) {
  return new Promise((resolve, reject) => {
    receiver.on("errorReceived", reject);
    receiver.on("message", async (batch) => {
      const records = JSON.parse(batch.getData().toString());
      records.forEach((record) => tell("feedback", record));
      await receiver.complete(batch);
      count -= records.length;
      if (count <= 0) resolve();
    });
  });
}

async function main(connectionString) {
  const client = Client.fromConnectionString(connectionString);
  await client.open();
  const { result: receiver } = await client.getFeedbackReceiver();
  const settled = feedback(receiver, 2);

  await client.send("mast-1", message("node-1", 60));
  tell("send", "node-1");
  await client.send("mast-2", message("node-2", 1));
  tell("send", "node-2");
  tell("send to nobody", await client.send("mast-7", message("node-7", 60)).then(() => null, (error) => error.name));

  await settled;
  await client.close();
}

main(process.argv[2]).catch((error) => {
  console.error(error.stack);
  process.exit(1);
});
