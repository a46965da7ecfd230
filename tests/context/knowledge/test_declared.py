"""Members that the workspace's own files declare: Go and TypeScript. ``‸`` is after the dot."""

from __future__ import annotations

import pytest

from midfill.context.knowledge.declared import lists_at
from midfill.context.knowledge.homes import Sight
from midfill.context.knowledge.names import KnownNames
from midfill.context.knowledge.places import receiver_before
from midfill.types import Snapshot
from tests.context.made import focus_at, index_of

GO = {
    "go.mod": "module example.com/depot\n",
    "store/store.go": """package store

import "sync"

// Item is a thing in the depot.
type Item struct {
\tSKU   string `json:"sku"`
\tShelf *Shelf
\tCount, Reserved int
\tnotes []string
}

type Shelf struct {
	done <-chan struct{}
\tName  string
\tItems []Item
}

type Audited struct {
\tLog []string
}

func (a *Audited) Note(text string) {}

type Store struct {
\tAudited
\tmu sync.Mutex
\tByName map[string]*Shelf
}

func Open(path string) (*Store, error) { return nil, nil }

func (s *Store) Find(sku string) (*Item, error) { return nil, nil }

func (s *Store) All() []*Item { return nil }

func (i *Item) Free() int { return i.Count - i.Reserved }

type Finder interface {
\tFind(sku string) (*Item, error)
}

type Guarded struct {
\tsync.Mutex
\tName string
}
""",
    "store/notes_linux.go": "package store\n\ntype Notes struct {\n\tfile int\n\tName string\n}\n",
    "store/notes_other.go": "package store\n\n// It isn't.\ntype Notes struct {\n\tName, Path string // don't\n}\n",
    "other/tls/tls.go": "package tls\n\nfunc Ours() {}\n",
    "store/more.go": "package store\n\nfunc (s *Store) Close() error { return nil }\n",
}
ITEM = {"SKU", "Shelf", "Count", "Reserved", "notes", "Free"}
ITEM_OUTSIDE = ITEM - {"notes"}
STORE = {"Audited", "Log", "Note", "mu", "ByName", "Find", "All", "Close"}

TS = {
    "src/model.ts": """export interface Tag {
  label: string;
  weight?: number;
}

export type Stamp = { at: Date; by: string } & Tag;

export class Entry {
  readonly id: string;
  tags: Tag[] = [];
  private secret = 1;
  static count = 0;

  constructor(
    /// Whose it is. It isn't shown.
    private readonly owner: Person,
    // a
    // b
    // c
    // d
    // e
    // f
    // g
    // h
    // i
    // j
    // k
    public title: string,
  ) {}

  get size(): number {
    return 1;
  }

  first(): Tag | undefined {
    return this.tags[0];
  }
}

export class Person {
  name = "";
  entries(): Promise<Entry[]> {
    return Promise.resolve([]);
  }
}

export class Draft extends Entry {
  draft = true;
}

export class Remote extends EventEmitter {
  host = "";
}

export interface Loose {
  [key: string]: unknown;
  known: string;
}

export function newest(entries: Entry[]): Entry | null {
  return entries[0] ?? null;
}
""",
    "src/names.ts": """export const PREFIX = "x";
export function join(a: string): string {
  return a;
}
const hidden = 1;
export { hidden as shown };
""",
    "src/common.ts": 'export * as Names from "./names";\nexport { Side, Kind } from "./kinds";\n',
    "src/kinds.ts": """export enum Side {
  LEFT = "left",
  RIGHT = "right",
}
export const Kind = {
  PLAIN: "plain" as const, // it isn't more
  RICH: "rich" as const,
};
""",
    "src/index.ts": 'export { Person } from "./model";\n',
}
ENTRY = {"id", "tags", "title", "size", "first"}  # as others see it
OWN = ENTRY | {"secret", "owner"}
IMPORT = 'import { Draft, Entry, Loose, Person, Remote, Stamp, Tag, newest } from "./model";\n'


def known(files: dict[str, str], path: str, buffer: str) -> dict[str, KnownNames]:
    focus = focus_at(path, buffer)
    here = receiver_before(Snapshot("file:///w", 0, focus.language, focus.text, focus.cursor))
    index = index_of({**files, path: focus.text})
    return lists_at(Sight(index, go_folder=go_folder), focus, here)


def go_folder(key: str, path: str) -> str | None:
    """As if the workspace had go.mod at its top."""
    return path.removeprefix("example.com/depot").strip("/") if path.startswith("example.com/depot") else None


def names(files: dict[str, str], path: str, buffer: str, receiver: str) -> set[str] | None:
    found = known(files, path, buffer).get(receiver)
    return set(found.names) if found is not None else None


def go(body: str, header: str = "func run(s *store.Store)") -> str:
    return f'package main\n\nimport "example.com/depot/store"\n\n{header} {{\n{body}\n}}\n'


@pytest.mark.parametrize(
    ("buffer", "receiver", "wanted"),
    [
        (go("\ts.‸"), "s", STORE - {"mu"}),
        (go("\titem, err := s.Find(1)\n\titem.‸"), "item", ITEM_OUTSIDE),
        (go("\titem, err := s.Find(1)\n\titem.Shelf.‸"), "item.Shelf", {"Name", "Items"}),
        (go("\tfor _, item := range s.All() {\n\t\titem.‸"), "item", ITEM_OUTSIDE),
        (go("\tfor _, shelf := range s.ByName {\n\t\tshelf.‸"), "shelf", {"Name", "Items"}),
        (go("\tshelf := s.ByName[name]\n\tshelf.‸"), "shelf", {"Name", "Items"}),
        (go("\tdepot, err := store.Open(path)\n\tdepot.‸"), "depot", STORE - {"mu"}),
        (go("\titem := &store.Item{SKU: sku}\n\titem.‸"), "item", ITEM_OUTSIDE),
        (go("\tvar item store.Item\n\titem.‸"), "item", ITEM_OUTSIDE),
        (go("\tfunc(item *store.Item, n int) {\n\t\titem.‸"), "item", ITEM_OUTSIDE),
        (go("\tif item, err := s.Find(1); err == nil {\n\t\titem.‸"), "item", ITEM_OUTSIDE),
        (go("\tx.‸", "func run(x, y *store.Item)"), "x", ITEM_OUTSIDE),
        (go("\tstore.‸"), "store", {"Item", "Shelf", "Audited", "Store", "Open", "Finder", "Guarded", "Notes"}),
        (go("\tf.‸", "func run(f store.Finder)"), "f", {"Find"}),
        (go("\tn.‸", "func run(n *store.Notes)"), "n", {"Name", "Path"}),  # a file for each system
        (go("\tfor _, one := range []store.Item{{}} {\n\t\tone.‸"), "one", ITEM_OUTSIDE),
    ],
)  # fmt: skip
def test_go(buffer: str, receiver: str, wanted: set[str]) -> None:
    found = known(GO, "cmd/main.go", buffer)[receiver]
    assert set(found.names) == wanted
    assert found.is_complete


def test_go_in_its_own_package_sees_all() -> None:
    text = "package store\n\nfunc (s *Store) Move(i *Item) {\n\ts.‸\n}\n"
    assert names(GO, "store/move.go", text, "s") == STORE | {"Move"}
    assert names(GO, "store/move.go", text, "i") == ITEM


@pytest.mark.parametrize(
    ("buffer", "receiver"),
    [
        (go("\tg.‸", "func run(g *store.Guarded)"), "g"),  # of what it embeds nothing is known
    ],
)
def test_go_that_is_not_complete(buffer: str, receiver: str) -> None:
    found = known(GO, "cmd/main.go", buffer)[receiver]
    assert "Name" in found.names
    assert not found.is_complete


@pytest.mark.parametrize(
    "buffer",
    [
        go("\tfor _, item := range s.All() {\n\t}\n\titem.‸"),  # out of its block
        go("\tx := s.mu\n\tx.‸"),  # of another module
        go("\titem, err := s.Find(1)\n\terr.‸"),
        go("\tn := len(items)\n\tn.‸"),
        go("\tx := s.Find\n\tx.‸"),
        go("\tx := 1 + s.All()[0]\n\tx.‸"),
        go("\tx := unknown.Open()\n\tx.‸"),
        go("\tx := x\n\tx.‸"),  # of itself: no end
        go("\ttls.‸").replace('"example.com/depot/store"', '"crypto/tls"'),  # another module's folder of that name
    ],
)  # fmt: skip
def test_go_that_is_unknown(buffer: str) -> None:
    focus = focus_at("cmd/main.go", buffer)
    receiver = receiver_before(Snapshot("file:///w", 0, "go", focus.text, focus.cursor))
    assert receiver
    assert names(GO, "cmd/main.go", buffer, receiver) is None


def test_a_package_of_which_files_are_missing_is_not_complete() -> None:
    buffer = go("\ts.‸")
    focus = focus_at("cmd/main.go", buffer)
    sight = Sight(
        index_of({**GO, "cmd/main.go": focus.text}), is_whole=lambda file: file.folder != "store", go_folder=go_folder
    )
    found = lists_at(sight, focus, "s")
    assert not found["s"].is_complete


@pytest.mark.parametrize(
    ("body", "receiver", "wanted"),
    [
        ("function f(e: Entry) {\n  e.‸", "e", ENTRY),
        ("function f(e?: Entry | null) {\n  e.‸", "e", ENTRY),
        ("const f = (e: Entry, n: number): string => {\n  return e.‸", "e", ENTRY),
        ("function f(\n  all: Entry[],\n  n: number,\n): void {\n  for (const e of all) {\n    e.‸", "e", ENTRY),
        ("function f(all: Entry[]) {\n  all.forEach((e) => {\n    e.‸", "e", ENTRY),
        ("function f(all: Array<Entry>) {\n  return all.map(async e => {\n    e.‸", "e", ENTRY),
        ("function f(all: Entry[]) {\n  const e = all[0];\n  e.‸", "e", ENTRY),
        ("function f(all: Entry[]) {\n  const t = newest(all).first();\n  t.‸", "t", {"label", "weight"}),
        ("function f(all: Entry[]) {\n  const e = newest(all);\n  e.‸", "e", ENTRY),
        ("function f() {\n  const e = new Entry(a, b);\n  e.‸", "e", ENTRY),
        ("function f() {\n  let e: Entry;\n  e.‸", "e", ENTRY),
        ("function f(x: unknown) {\n  const e = x as Entry;\n  e.‸", "e", ENTRY),
        ("async function f(p: Person) {\n  const all = await p.entries();\n  const e = all[0];\n  e.‸", "e", ENTRY),
        ("function f(d: Draft) {\n  d.‸", "d", ENTRY | {"draft"}),
        ("function f(s: Stamp) {\n  s.‸", "s", {"at", "by", "label", "weight"}),
        ("function f({ tag, n }: { tag: Tag; n: number }) {\n  tag.‸", "tag", {"label", "weight"}),
        ("function f(x: {\n  tag: Tag\n  n: number\n}) {\n  x.‸", "x", {"tag", "n"}),
        ("function f(x: { tag: Tag }) {\n  const { tag: t } = x;\n  t.‸", "t", {"label", "weight"}),
        ("function F() {\n  const [e, setE] = useState<Entry | null>(null);\n  e.‸", "e", ENTRY),
    ],
)  # fmt: skip
def test_typescript(body: str, receiver: str, wanted: set[str]) -> None:
    found = known(TS, "src/app.ts", f"{IMPORT}\n{body}\n}}\n")[receiver]
    assert set(found.names) == wanted
    assert found.is_complete


@pytest.mark.parametrize(
    ("line", "receiver", "wanted"),
    [
        ('import { Names } from "./common";', "Names", {"PREFIX", "join", "shown"}),
        ('import * as names from "./names";', "names", {"PREFIX", "join", "shown"}),
        ('import { Side } from "./common";', "Side", {"LEFT", "RIGHT"}),
        ('import { Kind } from "./kinds";', "Kind", {"PLAIN", "RICH"}),
    ],
)
def test_names_that_are_no_variables(line: str, receiver: str, wanted: set[str]) -> None:
    found = known(TS, "src/app.ts", f"{line}\n\nfunction f() {{\n  return {receiver}.‸;\n}}\n")[receiver]
    assert set(found.names) == wanted
    assert found.is_complete


def test_the_path_of_an_import_names_no_members() -> None:
    assert known(TS, "src/app.ts", 'import * as names from "./names.‸";\n') == {}


def test_this_sees_what_is_private() -> None:
    text = TS["src/model.ts"].replace("    return 1;", "    return this.‸;")
    assert (names({}, "src/model.ts", text, "this") or set()) >= OWN
    assert names({}, "src/model.ts", text, "this.owner") == {"name", "entries"}


def test_what_a_file_hands_on_is_found() -> None:
    text = 'import { Person } from ".";\n\nfunction f(p: Person) {\n  p.‸\n}\n'
    assert names(TS, "src/app.ts", text, "p") == {"name", "entries"}


@pytest.mark.parametrize("parameter", ["r: Remote", "r: Loose"])
def test_typescript_that_is_not_complete(parameter: str) -> None:
    found = known(TS, "src/app.ts", f"{IMPORT}\nfunction f({parameter}) {{\n  r.‸\n}}\n")["r"]
    assert {"host", "known"} & set(found.names)
    assert not found.is_complete


@pytest.mark.parametrize(
    "body",
    [
        "function f(x: Entry | Person) {\n  x.‸",
        "function f(x: string) {\n  x.‸",
        "function f(x: Missing) {\n  x.‸",
        "function f(x: Entry[]) {\n  x.‸",  # an array's own
        "function f(p: Person) {\n  const x = p.entries();\n  x.‸",  # a promise's own
        "function f(all: Entry[]) {\n  if (all) {\n    const x = all[0];\n  }\n  x.‸",
        "function f(e: Entry) {\n  const x = e.first() || other;\n  const y = e.size + 1;\n  y.‸",
    ],
)
def test_typescript_that_is_unknown(body: str) -> None:
    text = f"{IMPORT}\n{body}\n}}\n"
    focus = focus_at("src/app.ts", text)
    receiver = receiver_before(Snapshot("file:///w", 0, "typescript", focus.text, focus.cursor))
    assert receiver
    assert names(TS, "src/app.ts", text, receiver) is None


def test_a_class_of_javascript_is_never_complete() -> None:
    files = {"a.js": "export class Cart {\n  total() {}\n}\n"}
    text = 'import { Cart } from "./a";\n\nfunction f() {\n  const cart = new Cart();\n  cart.‸\n}\n'
    found = known(files, "b.js", text)["cart"]
    assert found.names == ("total",)
    assert not found.is_complete


def test_other_languages_have_none() -> None:
    assert known({}, "a.py", "def f(x: int):\n    x.‸\n") == {}


def test_files_of_another_project_are_not_used() -> None:
    focus = focus_at("cmd/main.go", go("\ts.‸"))
    sight = Sight(
        index_of({**GO, "cmd/main.go": focus.text}),
        may_use=lambda key: not key.startswith("store"),
        go_folder=go_folder,
    )
    assert lists_at(sight, focus, "s") == {}


LONG = "".join(f"  field{n}: string;\n" for n in range(600))


def test_a_declaration_that_is_not_read_to_its_end_is_not_complete() -> None:
    files = {"src/long.ts": f"export interface Long {{\n{LONG}}}\n"}
    found = known(files, "src/app.ts", 'import { Long } from "./long";\n\nfunction f(x: Long) {\n  x.‸\n}\n')["x"]
    assert "field1" in found.names
    assert not found.is_complete


@pytest.mark.parametrize(
    "text",
    [
        "\n" * 150_000,
        "export {" * 20_000,
        "export * as " * 10_000,
        " " * 150_000 + "class Hard",
        "export class Hard {\n" * 8_000,
        "export interface Hard extends " * 5_000,
        "export interface Hard {\n" + "/*" * 60_000,
        "export interface Hard {\n" + "a " * 60_000,
        "export type Hard = " + "(" * 100_000,
    ],
)
def test_what_is_hard_to_read_comes_to_an_end(text: str) -> None:
    """No pattern takes time by the square of the text's length: that would be minutes with Python's lock held."""
    use = "function f(x: Hard) {\n  " + "let a: " * 2_000 + "\n  " + "(" * 8_000 + "\n  x.‸\n}\n"
    known({"src/hard.ts": text}, "src/app.ts", 'import { Hard } from "./hard";\nimport * as all from "./hard";\n' + use)
    known({"src/hard.ts": text}, "src/app.ts", 'import * as all from "./hard";\n\nall.‸\n')
    known({}, "src/app.ts", text + "\n" + use)
    known({}, "a.go", "package a\n\n" + "func (a *Hard" * 20_000 + "\nfunc f(x *Hard) {\n\tx.‸\n}\n")
