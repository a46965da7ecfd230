/**
 * Suggestions that the user dismissed. They do not come back while the text typed at their place is their beginning.
 * A place is forgotten when its line changes in another way.
 */

import { MAX_PLACES } from './constants.ts';

/** One dismissed suggestion. `before` and `after` are the line's text around the place. */
interface Place {
  line: number;
  before: string;
  after: string;
  text: string;
}

/** The lines that an edit replaced, and how many line ends it inserted. */
export interface LineChange {
  startLine: number;
  endLine: number;
  nBreaks: number;
}

export class Dismissed {
  private places: Place[] = [];

  /** Remember that `text` was dismissed at a column of a line. */
  add(line: number, content: string, column: number, text: string): void {
    this.places = this.places.filter((place) => place.line !== line).slice(1 - MAX_PLACES);
    this.places.push({ line, before: content.slice(0, column), after: content.slice(column), text });
  }

  /** Whether a suggestion at a column of a line with `content` would be a dismissed one. */
  holds(line: number, content: string, column: number): boolean {
    return this.places.some((place) => place.line === line && isBegun(place, content, column));
  }

  /** Forget the places of a line: the user triggers a suggestion there. */
  forget(line: number): void {
    this.places = this.places.filter((place) => place.line !== line);
  }

  /** Follow an edit of the document; `contentOf` returns the current content of a line. */
  changed(changes: readonly LineChange[], contentOf: (line: number) => string | undefined): void {
    const stands = (place: Place, line: number): boolean => {
      const content = contentOf(line);
      return content !== undefined && isIntact(place, content);
    };
    for (const { startLine, endLine, nBreaks } of changes) {
      for (const place of this.places) {
        const moved = startLine + nBreaks + place.line - endLine;
        if (place.line > endLine || (place.line === endLine && !stands(place, place.line) && stands(place, moved))) {
          place.line = moved;
        }
      }
    }
    this.places = this.places.filter((place) => stands(place, place.line));
  }
}

/** Return the text typed at the place, or undefined if the line changed otherwise. Editors may add closers after it. */
function typedAt(place: Place, content: string, column: number): string | undefined {
  const isAround = content.startsWith(place.before) && content.slice(column).endsWith(place.after);
  return isAround && column >= place.before.length ? content.slice(place.before.length, column) : undefined;
}

function isBegun(place: Place, content: string, column: number): boolean {
  const typed = typedAt(place, content, column);
  return typed !== undefined && typed.length < place.text.length && place.text.startsWith(typed);
}

/** Whether the line is unchanged except for a beginning of the suggestion, followed by nothing but closers. */
function isIntact(place: Place, content: string): boolean {
  const first = place.text.split(/\r?\n/, 1)[0]!;
  let n = 0;
  const rest = content.startsWith(place.before) ? content.slice(place.before.length) : undefined;
  while (rest !== undefined && n < first.length && n < rest.length && rest[n] === first[n]) {
    n += 1;
  }
  return rest !== undefined && Array.from({ length: n + 1 }, (_, typed) => rest.slice(typed)).some((right) => {
    const closed = right.endsWith(place.after) ? right.slice(0, right.length - place.after.length) : undefined;
    return closed !== undefined && /^[)\]}>"'`]*$/.test(closed);
  });
}
