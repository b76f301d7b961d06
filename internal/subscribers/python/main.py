"""Ends the connection that has lost a wearable account, told by Handover's announcements. It takes them from an SQS queue, with raw message delivery or without,
or from SNS itself over HTTP(S), or from both. It is an example to be copied: it uses nothing of Handover's.

Its settings are in the environment; ../README.md lists them.
"""

import json
import os
import signal
import ssl
import sys
import threading

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from endpoint import Endpoint, serve, sns_of
from store import Journal
from transfer import Handler, Terra, Unusable, log


def main() -> None:
    env = os.environ
    topic, queue, listen = env.get("TOPIC_ARN", ""), env.get("QUEUE_URL"), env.get("LISTEN")
    dev_id, key = env.get("TERRA_DEV_ID"), env.get("TERRA_API_KEY")
    if topic.count(":") != 5 or not dev_id or not key or not (queue or listen):
        sys.exit("TOPIC_ARN, TERRA_DEV_ID, TERRA_API_KEY and one of QUEUE_URL and LISTEN must be set")
    terra = Terra(env.get("TERRA_API_URL") or "https://api.tryterra.co/v2", dev_id, key)
    handler = Handler(Journal(env.get("STATE_FILE") or "subscriber.jsonl"), terra)

    stopping = threading.Event()
    for end in (signal.SIGTERM, signal.SIGINT):
        signal.signal(end, lambda *_: stopping.set())
    threads = []
    if queue:
        threads.append(threading.Thread(target=consume, args=(queue, topic, handler, stopping)))
    if listen:
        trust = ssl.create_default_context()
        if env.get("SNS_CA"):
            trust.load_verify_locations(env["SNS_CA"])
        endpoint = Endpoint(topic, env.get("SNS_URL") or sns_of(topic), trust, handler)
        threads.append(threading.Thread(target=serve, args=(listen, endpoint, stopping)))
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(1)  # not without end: of a signal that comes just before such a wait, Python would tell after it


def consume(queue: str, topic: str, handler: Handler, stopping: threading.Event) -> None:
    """Handles the messages of a queue until stopping is set. What was not handled stays in the queue: SQS gives it again after its visibility timeout and, by the
    queue's redrive policy, moves it to a dead-letter queue in the end."""
    client = boto3.client("sqs", region_name=os.environ.get("AWS_REGION") or topic.split(":")[3], config=Config(retries={"mode": "standard"}))
    while not stopping.is_set():
        try:
            # 5 s, and not SQS's 20: a call cannot be broken off, and the end should not wait for long.
            got = client.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=5)
            for message in got.get("Messages", []):
                try:
                    handler.handle(unwrap(message["Body"], topic))
                except Exception:  # logged where it happened
                    continue
                client.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        except (BotoCoreError, ClientError) as error:
            log(outcome="queue_failed", error=type(error).__name__)
            stopping.wait(1)


def unwrap(body: str, topic: str) -> str:
    """The event in a message: without raw message delivery SNS's envelope is around it. That is not verified: the queue's policy lets nobody but the topic send.
    That it is the right topic is checked all the same."""
    try:
        envelope = json.loads(body)
    except ValueError:
        return body
    if not isinstance(envelope, dict) or envelope.get("Type") != "Notification":
        return body
    if envelope.get("TopicArn") != topic:
        log(outcome="wrong_topic")
        raise Unusable
    return str(envelope.get("Message"))


if __name__ == "__main__":
    main()
