import type { IncomingMessage, RequestListener } from "node:http";
import { get } from "node:https";

import MessageValidator from "sns-validator";

import { type Handler, Unusable, log } from "./transfer.js";

// snsOf tells where SNS is in the topic's region.
export function snsOf(topic: string): string {
  const [, partition, , region] = topic.split(":");
  return `https://sns.${region}.amazonaws.com${partition === "aws-cn" ? ".cn" : ""}`;
}

class Forged extends Error {}

// endpoint takes what SNS POSTs: https://docs.aws.amazon.com/sns/latest/dg/sns-http-https-endpoint-as-subscriber.html
//
// It answers 2xx to what is done, 403 to what is not the topic's, 422 to what no repeat makes better, and 503 to what is to come again. SNS repeats only the last,
// and moves the others to the subscription's dead-letter queue.
export function endpoint(topic: string, sns: string, handler: Handler): RequestListener {
  const validator = new MessageValidator(/^/); // its pattern sees the host alone; which URL it may be is told below

  return async (request, response) => {
    response.statusCode = await answer(request);
    response.end();
  };

  async function answer(request: IncomingMessage): Promise<number> {
    const message = await body(request).then(JSON.parse).catch(() => null);
    if (message === null || typeof message !== "object") return 400;
    try {
      await verify(message);
      if (message.Type === "SubscriptionConfirmation") {
        await confirm(String(message.Token));
        log({ outcome: "confirmed" });
        return 204;
      }
    } catch (error) {
      log(error instanceof Forged ? { outcome: "forged" } : { outcome: "failed", error: (error as Error).message });
      return error instanceof Forged ? 403 : 503;
    }
    if (message.Type !== "Notification") return 422;
    return handler.handle(String(message.Message)).then(
      () => 204,
      (error) => (error instanceof Unusable ? 422 : 503),
    );
  }

  // verify checks SNS's signature, version 2. Whoever can name the certificate can sign: so it is fetched only from SNS, by https, and under a name of the form
  // that SNS gives it (sns-validator alone would take any path that ends in .pem, and version 1). And SNS signs for everybody's topics: so the topic is checked too.
  function verify(message: Record<string, unknown>): Promise<void> {
    const { TopicArn, SignatureVersion, SigningCertURL } = message;
    const url = typeof SigningCertURL === "string" && sns.startsWith("https://") && SigningCertURL.startsWith(sns) ? SigningCertURL.slice(sns.length) : "";
    if (TopicArn !== topic || SignatureVersion !== "2" || !/^\/SimpleNotificationService-[0-9a-f]{32}\.pem$/.test(url)) {
      return Promise.reject(new Forged());
    }
    return new Promise((resolve, reject) =>
      validator.validate(message, (error) => {
        if (!error) resolve();
        else reject(/^The message signature is invalid|^Message missing/.test(error.message) ? new Forged() : error);
      }),
    );
  }

  // confirm confirms the subscription to the expected topic, and no other. It does not visit the SubscribeURL but what it should be.
  function confirm(token: string): Promise<void> {
    const query = new URLSearchParams({ Action: "ConfirmSubscription", TopicArn: topic, Token: token });
    return new Promise((resolve, reject) => {
      const request = get(`${sns}/?${query}`, { timeout: 20_000 }, (answer) => {
        answer.resume();
        if (answer.statusCode === 200) resolve();
        else reject(new Error(`SNS answered ${answer.statusCode}`));
      });
      request.on("timeout", () => request.destroy(new Error("SNS did not answer")));
      request.on("error", reject);
    });
  }
}

async function body(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  const limit = 1 << 20; // SNS's own is 256 KiB
  let size = 0;
  for await (const part of request) {
    if ((size += part.length) <= limit) parts.push(part);
  }
  if (size > limit) throw new Error("too large");
  return Buffer.concat(parts).toString();
}
