// Ends the connection that has lost a wearable account, told by Handover's announcements. It takes them from an SQS queue, with raw message delivery or without,
// or from SNS itself over HTTP(S), or from both. It is an example to be copied: it uses nothing of Handover's.
//
// Its settings are in the environment; ../../README.md lists them.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { globalAgent } from "node:https";
import { rootCertificates } from "node:tls";

import type { Message } from "@aws-sdk/client-sqs";
import { Consumer } from "sqs-consumer";

import { endpoint, snsOf } from "./endpoint.js";
import { Journal } from "./store.js";
import { Handler, Terra, Unusable, log } from "./transfer.js";

const env = process.env;
const topic = env.TOPIC_ARN ?? "";
if (topic.split(":").length !== 6 || !env.TERRA_DEV_ID || !env.TERRA_API_KEY || (!env.QUEUE_URL && !env.LISTEN)) {
  console.error("TOPIC_ARN, TERRA_DEV_ID, TERRA_API_KEY and one of QUEUE_URL and LISTEN must be set");
  process.exit(1);
}
if (env.SNS_CA) {
  globalAgent.options.ca = [...rootCertificates, readFileSync(env.SNS_CA, "utf8")]; // sns-validator fetches the certificate through it
}

const terra = new Terra(env.TERRA_API_URL || "https://api.tryterra.co/v2", env.TERRA_DEV_ID, env.TERRA_API_KEY);
const handler = new Handler(new Journal(env.STATE_FILE || "subscriber.jsonl"), terra);

if (env.QUEUE_URL) {
  const consumer = Consumer.create({ queueUrl: env.QUEUE_URL, batchSize: 10, region: env.AWS_REGION ?? topic.split(":")[3]!, handleMessage });
  consumer.on("error", (error) => log({ outcome: "queue_failed", error: error.name }));
  consumer.on("processing_error", () => {}); // logged where it happened
  consumer.start();
  process.once("SIGTERM", () => consumer.stop({ abort: true }));
}
if (env.LISTEN) {
  const [, host, port] = /^(.*):(\d+)$/.exec(env.LISTEN) ?? [];
  const server = createServer(endpoint(topic, env.SNS_URL || snsOf(topic), handler)).listen(Number(port), host);
  process.once("SIGTERM", () => server.close());
}

// handleMessage handles one message of the queue. What it throws at stays in the queue: SQS gives it again after its visibility timeout and, by the queue's
// redrive policy, moves it to a dead-letter queue in the end. Only a message that is returned is deleted.
//
// Without raw message delivery SNS's envelope is around the event. It is not verified: the queue's policy lets nobody but the topic send. That it is the right
// topic is checked all the same.
async function handleMessage(message: Message): Promise<Message> {
  let event = message.Body ?? "";
  try {
    const envelope = JSON.parse(event);
    if (envelope?.Type === "Notification") {
      if (envelope.TopicArn !== topic) {
        log({ outcome: "wrong_topic" });
        throw new Unusable();
      }
      event = String(envelope.Message);
    }
  } catch (error) {
    if (error instanceof Unusable) throw error; // else it is not JSON, and the handler says so
  }
  await handler.handle(event);
  return message;
}
