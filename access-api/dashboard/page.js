// Writes a view (view.js) into the document; changes only what differs.

import { createBars } from './bars.js';
import { createPicker } from './picker.js';
import { createTotals } from './totals.js';

const find = (name) => document.querySelector(`[data-testid="${name}"]`);

export function createPage(format, calm) {
  const part = Object.fromEntries(
    ['queries', 'size', 'pause', 'pause-verb', 'pause-held', 'query', 'window', 'as-of', 'state', 'detail', 'retry', 'notice', 'bars', 'empty',
      'empty-title', 'empty-text', 'empty-steps', 'legend', 'legend-text', 'announcer'].map((name) => [name, find(name)]),
  );
  const wheel = document.querySelector('.wheel');
  const swatch = part.legend.querySelector('.swatch');
  const totalsBox = document.querySelector('.totals');
  const bars = createBars(part.bars, format, calm);
  const totals = createTotals(totalsBox, format);
  const drawPicker = createPicker(part.queries);
  let notch = 0;

  function drawConnection({ state, word, detail, canRetry, notice }) {
    document.body.dataset.state = state;
    write(part.state, word);
    write(part.detail, detail);
    part.detail.parentElement.hidden = detail === '' && !canRetry;
    part.retry.hidden = !canRetry;
    part.notice.hidden = notice === null;
    if (notice !== null) write(part.notice, notice);
  }

  function drawHeading({ query, window, asOf }) {
    document.body.dataset.query = query ?? '';
    write(part.query, query ?? 'Millrace');
    const title = query === null ? 'Millrace' : `${query} · Millrace`;
    if (document.title !== title) document.title = title;
    write(part.window, window);
    part['as-of'].parentElement.hidden = asOf === null;
    if (asOf === null) return;
    part['as-of'].dataset.value = asOf.ms;
    write(part['as-of'], asOf.text);
  }

  function drawEmpty({ empty, result, legend, state }) {
    part.empty.hidden = empty === null;
    // The bars of the previous query stay until the first result of this one arrives.
    part.bars.parentElement.hidden = empty !== null || (result === null && state !== 'waiting');
    totalsBox.hidden = result === null;
    part.legend.hidden = legend === null;
    if (empty === null) return;
    write(part['empty-title'], empty.title);
    write(part['empty-text'], empty.text);
    if (part['empty-steps'].dataset.title === empty.title) return;
    part['empty-steps'].dataset.title = empty.title;
    part['empty-steps'].replaceChildren(...empty.steps.map((step) => {
      const line = document.createElement('li');
      line.textContent = step;
      return line;
    }));
  }

  function drawPause({ paused, held }) {
    document.body.dataset.paused = String(paused);
    part.pause.dataset.held = held;
    write(part['pause-verb'], paused ? 'Resume' : 'Pause');
    part['pause-held'].hidden = !paused;
    write(part['pause-held'], `${format.count(held)} held`);
  }

  return {
    part,
    // `movement(item, rank)` gives the arrows; with `fresh` nothing is animated. Returns after how many milliseconds to draw
    // again to reorder the rows, or null.
    draw(view, movement, fresh, now) {
      drawConnection(view);
      drawHeading(view);
      drawPicker(view.queries, view.query);
      drawEmpty(view);
      drawPause(view);
      if (view.result === null) return null;
      totals.render(view.result, view);
      if (view.legend !== null) {
        swatch.hidden = !view.legend.uncertain;
        write(part['legend-text'], view.legend.text);
        part.bars.dataset.uncertain = String(view.legend.uncertain);
      }
      return bars.render(view.top, movement, now, fresh);
    },
    drawRate: (points, current) => totals.renderRate(points, current),
    checkSize(n) {
      part.size.querySelector(`input[value="${n}"]`).checked = true;
    },
    announce: (text) => write(part.announcer, text),
    // The mill's wheel turns by one notch a second while results arrive. It is not a continuous animation, because a wall
    // screen would draw sixty frames a second for it.
    turnWheel() {
      if (calm.matches) return;
      notch = (notch + 1) % 24;
      wheel.style.transform = `rotate(${notch * 15}deg)`;
    },
  };
}

function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
