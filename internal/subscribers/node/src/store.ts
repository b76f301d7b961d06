import { fsyncSync, ftruncateSync, openSync, readFileSync, writeSync } from "node:fs";

import type { Holder } from "./transfer.js";

// Store remembers what was done. This is the seam: in your backend it is a table of ids and a table of owners in the database that you have, and done one
// transaction, with what else you change (its methods are then async).
export interface Store {
  seen(id: string): boolean;
  owner(account: string): Holder | undefined;
  // done records that the announcement id was handled and, unless account is null, that owner is the account's owner now.
  done(id: string, account: string | null, owner: Holder | null): void;
}

// Journal is a Store in a file of JSON lines, for one process. A file because the owners must survive a restart, or an old announcement that comes late would
// replace a newer owner. Lines because adding one is all or nothing without a database: a line that a crash has cut off does not count.
export class Journal implements Store {
  private readonly file: number;
  private size: number; // of the whole lines, in bytes
  private readonly ids = new Set<string>();
  private readonly owners = new Map<string, Holder>();

  constructor(path: string) {
    this.file = openSync(path, "a+", 0o600);
    const text = readFileSync(path);
    this.size = text.lastIndexOf("\n") + 1;
    for (const line of text.subarray(0, this.size).toString().split("\n").slice(0, -1)) {
      const { id, account, owner } = JSON.parse(line);
      this.remember(id, account, owner);
    }
  }

  seen(id: string): boolean {
    return this.ids.has(id);
  }

  owner(account: string): Holder | undefined {
    return this.owners.get(account);
  }

  done(id: string, account: string | null, owner: Holder | null): void {
    const line = Buffer.from(JSON.stringify({ id, account, owner }) + "\n");
    ftruncateSync(this.file, this.size); // what a crash, or a failed write, has left behind the whole lines
    if (writeSync(this.file, line) !== line.length) throw new Error("the journal could not be written");
    fsyncSync(this.file);
    this.size += line.length;
    this.remember(id, account, owner);
  }

  private remember(id: string, account: string | null, owner: Holder | null): void {
    this.ids.add(id);
    if (account !== null && owner !== null) this.owners.set(account, owner);
  }
}
