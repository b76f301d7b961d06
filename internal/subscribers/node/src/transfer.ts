import type { Store } from "./store.js";

// A connection in the hands of one of your users.
export interface Holder {
  user_id: string;
  reference_id: string;
  connected_at: string | null; // RFC 3339, in UTC, with as many decimals as it has
  tenure: number;
}

// As much of an announcement as is needed here.
interface Event {
  id: string;
  type: string;
  data: { account: string | null; order: string; previous: Holder; current: Holder };
}

// A message that no repeat makes better.
export class Unusable extends Error {}

// newer tells whether a holds an account after b. A connection without a time was there before all that have one.
export function newer(a: Holder, b: Holder): boolean {
  const [at, bt] = [sortable(a.connected_at), sortable(b.connected_at)];
  if (at !== bt) return at > bt;
  if (a.user_id !== b.user_id) return a.user_id > b.user_id;
  return a.tenure > b.tenure;
}

// sortable writes a time with nine decimals, so that texts compare as times do. A Date would not do: it drops what is below a millisecond.
function sortable(time: string | null): string {
  if (time === null) return "";
  const [, seconds, decimals = ""] = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z$/.exec(time) ?? [];
  if (!seconds) throw new Unusable();
  return `${seconds}.${decimals.padEnd(9, "0")}`;
}

// Handler does what an announcement asks for.
export class Handler {
  private last: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly store: Store,
    private readonly terra: Terra,
  ) {}

  // handle handles one announcement. Once it has resolved, the announcement is done and need not come again. One is handled at a time: what the store says stays
  // true until it is told what was done.
  handle(message: string): Promise<void> {
    const result = this.last.then(() => this.handleNow(message));
    this.last = result.catch(() => {});
    return result;
  }

  private async handleNow(message: string): Promise<void> {
    let id: unknown;
    try {
      const event = parse(message);
      id = event.id;
      log({ outcome: await this.act(event), id });
    } catch (error) {
      log(error instanceof Unusable ? { outcome: "unusable", id } : { outcome: "failed", id, error: (error as Error).message });
      throw error;
    }
  }

  private async act({ id, type, data }: Event): Promise<string> {
    if (this.store.seen(id)) return "duplicate";
    if (type !== "handover.account.transferred.v1") return "ignored"; // such as handover.connection.revoked.v1, which confirms what was done, and types to come
    if (typeof data?.order !== "string" || !isHolder(data.previous) || !isHolder(data.current)) throw new Unusable();
    if (data.order !== "signed" && data.order !== "terra") {
      // Which of the two came first is a guess. It changes nothing by itself: show it to a person here.
      this.store.done(id, null, null);
      return "left_to_a_person";
    }

    // The connection is ended, not the person: alice may have connected another watch since.
    let outcome = "reassigned"; // one connection: only the old reference_id has lost it, so end what it may read
    if (data.previous.user_id !== data.current.user_id) {
      outcome = await this.terra.deauthenticate(data.previous.user_id);
    }

    // Announcements may come in any order: who owns the account now is told by the newest, not by the last.
    const known = data.account ? this.store.owner(data.account) : undefined;
    const wins = data.account && (known === undefined || newer(data.current, known));
    this.store.done(id, wins ? data.account : null, wins ? data.current : null);
    return outcome;
  }
}

function parse(message: string): Event {
  try {
    const event = JSON.parse(message);
    if (typeof event?.id === "string" && event.id !== "") return event;
  } catch {
    // not JSON
  }
  throw new Unusable();
}

function isHolder(h: Holder | undefined): boolean {
  if (typeof h?.user_id !== "string" || h.user_id === "" || !Number.isInteger(h.tenure) || h.tenure < 1) return false;
  if (h.connected_at !== null && typeof h.connected_at !== "string") return false;
  sortable(h.connected_at); // throws
  return true;
}

// Terra is Terra's REST API.
export class Terra {
  constructor(
    private readonly url: string,
    private readonly devID: string,
    private readonly key: string,
  ) {}

  // deauthenticate ends a connection: DELETE /auth/deauthenticateUser. One that is gone already is as good as ended, so asking again does no harm. No redirect is
  // followed: it would carry the key away.
  async deauthenticate(userID: string): Promise<string> {
    const response = await fetch(`${this.url}/auth/deauthenticateUser?user_id=${encodeURIComponent(userID)}`, {
      method: "DELETE",
      headers: { "dev-id": this.devID, "x-api-key": this.key },
      redirect: "manual",
      signal: AbortSignal.timeout(20_000),
    });
    const answer = (await response.json().catch(() => null)) as { status?: unknown } | null;
    if (response.status === 404) return "gone";
    if (response.status !== 200 || answer?.status === "error") throw new Error(`Terra answered ${response.status}`);
    return "revoked";
  }
}

// log writes a line. No user_id, no reference_id: they are personal data.
export function log(line: Record<string, unknown>): void {
  console.log(JSON.stringify(line));
}
