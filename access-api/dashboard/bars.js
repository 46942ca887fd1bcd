// The ranked bars: one <li> for each item, kept while the item is ranked. Numbers change at once, the order at most
// every 1.5 s.
// Guarantees: items are put into the page as text only; a row has a fixed height, so that a changed number moves nothing
// else; the order in the document is the order of rank, so that a screen reader and a test get the order on the screen.

import { colourOf } from './colours.js';
import { itemText } from './item.js';

const ROWS_PER_COLUMN = 25;
const ROOMY_ROWS = 12; // with up to this many rows, a name may take two lines
const FEWEST_LINES = 8; // with fewer rows, the height of a row is that of this many, so that it does not fill the screen
const REORDER_EVERY_MS = 1_500;
const MOVE_MS = 600;

export function createBars(list, format, calm) {
  const rows = new Map(); // item -> row
  let order = [];
  let reorderedAt = -Infinity;

  function createRow(item) {
    const element = document.createElement('li');
    element.className = 'row';
    element.dataset.item = item;
    for (const [name, value] of Object.entries(colourOf(item))) element.style.setProperty(`--${name}`, value);
    const part = (tag, className, parent = element) => {
      const node = document.createElement(tag);
      node.className = className;
      parent.append(node);
      return node;
    };
    const rank = part('span', 'rank');
    const name = part('bdi', 'name');
    const move = part('span', 'move');
    const arrow = part('span', 'arrow', move);
    const moved = part('span', 'visually-hidden', move);
    const channel = part('span', 'channel');
    const upTo = part('span', 'fill up-to', channel);
    const certain = part('span', 'fill certain', channel);
    const figures = part('span', 'figures');
    const count = part('span', 'count', figures);
    const bounds = part('span', 'bounds', figures);
    part('span', 'at-least', bounds).textContent = 'at least ';
    const atLeast = part('span', 'lower', bounds);
    channel.ariaHidden = 'true';
    arrow.ariaHidden = 'true';
    const shown = itemText(item);
    name.textContent = shown.text;
    name.title = shown.text;
    if (shown.named) name.classList.add('named');
    return { element, rank, arrow, moved, upTo, certain, count, bounds, atLeast, gliding: null, seen: {} };
  }

  // Writes to the document only when the value has changed.
  function set(row, key, value, write) {
    if (row.seen[key] === value) return;
    row.seen[key] = value;
    write(value);
  }

  // Rounded to a thousandth of the width, about a pixel, because an invisible change would cost as much as a visible one.
  const placed = (share) => `translateX(${(share * 100 - 100).toFixed(1)}%)`;

  function update(row, { count, error }, largest) {
    set(row, 'count', count, (value) => {
      row.element.dataset.count = value;
      row.count.textContent = format.count(value);
    });
    set(row, 'bounds', error > 0 ? format.count(count - error) : '', (value) => {
      row.bounds.hidden = value === '';
      row.atLeast.textContent = value;
    });
    set(row, 'error', error, (value) => {
      row.element.dataset.error = value;
    });
    set(row, 'certain', placed((count - error) / largest), (value) => {
      row.certain.style.transform = value;
    });
    set(row, 'upTo', placed(count / largest), (value) => {
      row.upTo.style.transform = value;
    });
  }

  function rankRow(row, rank, movement) {
    set(row, 'rank', rank, (value) => {
      row.element.dataset.rank = value;
      row.rank.textContent = value;
    });
    set(row, 'movement', movement, (value) => {
      row.arrow.parentElement.dataset.move = value === 'new' ? 'new' : Math.sign(value);
      if (value === 'new') {
        row.arrow.textContent = 'new';
        row.moved.textContent = 'new in the last minute';
      } else {
        const places = Math.abs(value);
        row.arrow.textContent = value === 0 ? '' : `${value > 0 ? '▲' : '▼'}\u2009${places}`;
        row.moved.textContent = value === 0 ? '' : `${value > 0 ? 'up' : 'down'} ${places} in the last minute`;
      }
    });
  }

  function place(items) {
    const wanted = new Set(items);
    for (const [item, row] of rows) {
      if (!wanted.has(item)) {
        row.element.remove();
        rows.delete(item);
      }
    }
    let next = list.firstElementChild;
    for (const item of items) {
      const row = rows.get(item) ?? createRow(item);
      rows.set(item, row);
      if (row.element === next) next = next.nextElementSibling;
      else list.insertBefore(row.element, next);
    }
    order = items;
  }

  const boxes = () => new Map(Array.from(rows.values(), (row) => [row, row.element.getBoundingClientRect()]));

  // FLIP: each row is already in its new place, and the animation shows it moving there from its old one. All reads come
  // before all writes, and only transform and opacity are animated, so that the compositor can do it without a layout.
  function glide(before) {
    for (const row of before.keys()) {
      row.gliding?.cancel();
      row.gliding = null;
    }
    for (const [row, to] of boxes()) {
      const from = before.get(row);
      const x = from === undefined ? 0 : from.left - to.left;
      const y = from === undefined ? 0 : from.top - to.top;
      row.element.style.zIndex = y > 0 ? 1 : '';
      if (from === undefined) {
        row.gliding = row.element.animate([{ opacity: 0 }, { opacity: 1 }], { duration: MOVE_MS, easing: 'ease-out' });
      } else if (x !== 0 || y !== 0) {
        row.gliding = row.element.animate([{ transform: `translate(${x}px, ${y}px)` }, { transform: 'none' }], {
          duration: MOVE_MS,
          easing: 'cubic-bezier(0.22, 0.8, 0.24, 1)',
        });
      }
    }
  }

  return {
    // top: [{ item, count, error }] by rank; movement(item, rank) gives the arrows. `fresh`: another query or size is
    // shown, so that nothing is animated. Returns after how many milliseconds to call again to reorder the rows, or null.
    render(top, movement, now, fresh) {
      const items = top.map((entry) => entry.item);
      const same = items.length === order.length && items.every((item, index) => item === order[index]);
      const due = fresh || now - reorderedAt >= REORDER_EVERY_MS;
      const before = !same && due && !fresh && !calm.matches ? boxes() : null;
      if (!same && due) {
        place(items);
        reorderedAt = now;
      }
      const largest = Math.max(1, top[0]?.count ?? 1);
      for (const entry of top) {
        const row = rows.get(entry.item);
        if (row) update(row, entry, largest);
      }
      order.forEach((item, index) => rankRow(rows.get(item), index + 1, movement(item, index + 1)));
      const widest = format.count(largest).length;
      if (list.dataset.digits !== String(widest) || list.dataset.rows !== String(order.length)) {
        list.dataset.digits = widest;
        list.dataset.rows = order.length;
        list.style.setProperty('--digits', widest);
        const columns = order.length > ROWS_PER_COLUMN ? 2 : 1;
        list.dataset.columns = columns;
        list.dataset.roomy = order.length <= ROOMY_ROWS;
        list.style.setProperty('--lines', Math.max(FEWEST_LINES, Math.ceil(order.length / columns)));
      }
      if (before !== null) glide(before);
      return same || due ? null : REORDER_EVERY_MS - (now - reorderedAt);
    },
  };
}
