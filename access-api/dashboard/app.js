// The page's wiring: feed -> model -> one render per animation frame.
// Rely on: however many frames arrive, the document is written at most once per animation frame, and the newest cursor
// is acknowledged then; a hidden page renders and acknowledges about once a second (as its timers are allowed to).

import { createBars } from './bars.js';
import { createFeed } from './feed.js';
import { createFormat } from './format.js';
import { createRankHistory, createRateHistory } from './history.js';
import { applyFrame, applyList, chooseQuery, connectionState, createModel, QUIET_AFTER_MS } from './model.js';
import { loadPrefs, parseHash, savePrefs } from './prefs.js';
import { detailText, emptyText, legendText, STATE_WORDS } from './status.js';
import { createTotals } from './totals.js';

const DEFAULT_QUERY = 'topics';
const TICK_MS = 1_000;
const LIST_EVERY_MS = 60_000;
const ASK_EVERY_MS = 15_000; // while nothing arrives
const ASK_AGAIN_MS = 5_000; // while the server has something that does not arrive
const RENEW_AFTER_MS = 8_000;
const ASK_TIMEOUT_MS = 8_000;
const ANNOUNCE_EVERY_MS = 15_000;

const byTestId = (name) => document.querySelector(`[data-testid="${name}"]`);
const page = Object.fromEntries(
  ['queries', 'size', 'pause', 'pause-verb', 'pause-held', 'query', 'window', 'as-of', 'state', 'detail', 'retry', 'notice', 'bars', 'empty',
    'empty-title', 'empty-text', 'empty-steps', 'legend', 'legend-text', 'announcer'].map((name) => [name, byTestId(name)]),
);
const wheel = { element: document.querySelector('.wheel'), notch: 0, updates: 0 };
const swatch = page.legend.querySelector('.swatch');

const format = createFormat();
const model = createModel();
const ranks = createRankHistory();
const rates = createRateHistory();
const calm = matchMedia('(prefers-reduced-motion: reduce)');
const bars = createBars(page.bars, format, calm);
const totalsBox = document.querySelector('.totals');
const totals = createTotals(totalsBox, format);

const wanted = loadPrefs();
let chosen = null; // the query that is shown
let paused = null; // { result, updates } while paused
let fresh = true; // the next render is of something else, not of the next moment
let feedStatus = { phase: 'connecting', retryAt: null, everOpen: false };
let openedAt = 0;
let askedAt = -Infinity;
let renewedAt = -Infinity;
let unansweredSince = null;
let acknowledged = null;
let drawnQueries = null;
let scheduled = false;
let placeTimer = null;
let announced = { text: '', at: -Infinity };

const socketUrl = new URL('/v1/ws', location.href);
socketUrl.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:';

const feed = createFeed({
  url: socketUrl.href,
  online: () => navigator.onLine,
  onFrame(frame) {
    if (applyFrame(model, frame, Date.now())) {
      choose();
      schedule();
    }
  },
  onPhase(status) {
    const opened = status.phase === 'open' && feedStatus.phase !== 'open';
    feedStatus = { ...status };
    if (opened) {
      openedAt = Date.now();
      ask();
    }
    schedule();
  },
});

// ---- which query

function choose() {
  const name = wanted.query ?? DEFAULT_QUERY;
  const next = chooseQuery(model, name);
  // Until the query that is asked for exists, everything is listened to, so that it is found when it appears.
  feed.subscribe(next === name ? [name] : ['*']);
  if (next === chosen) return;
  chosen = next;
  paused = null;
  fresh = true;
  ranks.clear();
  rates.clear();
}

function want(query) {
  wanted.query = query;
  model.problem = null;
  savePrefs(wanted);
  choose();
  schedule();
}

// The server is asked for its list when a socket opened, when the stream is silent (is there really nothing newer?) and
// now and then. It is not asked while the socket is down: an answer that fails is an error in the browser's log.
async function ask() {
  askedAt = Date.now();
  unansweredSince = askedAt;
  const queries = await fetchQueries();
  const now = Date.now();
  unansweredSince = null;
  if (queries !== null) {
    applyList(model, queries, chosen ?? wanted.query, now);
    choose();
    if (model.behindSince !== null && now - model.behindSince > RENEW_AFTER_MS) renew(now);
  } else if (silentMs(now) > QUIET_AFTER_MS) {
    renew(now); // the socket is open, but to a server that does not answer
  }
  schedule();
}

// The server's list, or null when there was no good answer in time.
async function fetchQueries() {
  try {
    const response = await fetch('/v1/queries', { cache: 'no-store', signal: AbortSignal.timeout(ASK_TIMEOUT_MS) });
    return response.ok ? (await response.json()).queries : null;
  } catch {
    return null;
  }
}

function silentMs(now) {
  return now - Math.max(model.lastFrameAt ?? 0, openedAt);
}

function renew(now) {
  if (now - renewedAt < ASK_EVERY_MS) return;
  renewedAt = now;
  feed.renew();
}

function askWhenDue(now) {
  if (feedStatus.phase !== 'open' || unansweredSince !== null) return;
  const every = silentMs(now) < QUIET_AFTER_MS ? LIST_EVERY_MS : model.behindSince === null ? ASK_EVERY_MS : ASK_AGAIN_MS;
  if (now - askedAt > every) ask();
}

function drawQueries() {
  const names = [...model.queries.keys()];
  const picture = JSON.stringify([names, chosen]);
  if (picture === drawnQueries) return;
  drawnQueries = picture;
  const drawn = [...page.queries.querySelectorAll('input')];
  if (names.join('\n') !== drawn.map((input) => input.value).join('\n')) {
    for (const input of drawn) input.parentElement.remove();
    for (const name of names) {
      const label = document.createElement('label');
      const input = document.createElement('input');
      const text = document.createElement('span');
      input.type = 'radio';
      input.name = 'query';
      input.value = name;
      text.textContent = name;
      label.append(input, text);
      page.queries.append(label);
    }
    page.queries.hidden = names.length === 0;
  }
  for (const input of page.queries.querySelectorAll('input')) {
    input.checked = input.value === chosen;
    if (input.checked) input.parentElement.scrollIntoView({ block: 'nearest', inline: 'nearest' });
  }
}

// ---- render

function schedule() {
  if (scheduled) return;
  scheduled = true;
  if (document.hidden) setTimeout(render, TICK_MS);
  else requestAnimationFrame(render);
}

function render() {
  scheduled = false;
  const now = Date.now();
  const live = chosen === null ? null : model.results.get(chosen) ?? null;
  const result = paused ? paused.result : live;
  drawConnection(now);
  drawHeading(result, now);
  if (result !== null) drawResult(result, now);
  drawEmpty(result);
  drawPause();
  if (model.cursor !== acknowledged) {
    acknowledged = model.cursor;
    feed.ack(acknowledged);
  }
}

function drawConnection(now) {
  const { state, quietMs } = connectionState(model, { ...feedStatus, unansweredSince, chosen }, now);
  const retryInMs = feedStatus.retryAt === null ? null : feedStatus.retryAt - now;
  const networkGone = feedStatus.phase === 'waiting' && feedStatus.retryAt === null;
  document.body.dataset.state = state;
  document.body.dataset.quiet = String(quietMs > 0);
  write(page.state, STATE_WORDS[state]);
  write(page.detail, detailText(format, { state, quietMs, lagMs: model.lagMs, retryInMs, networkGone }));
  page.detail.parentElement.hidden = page.detail.textContent === '';
  page.retry.hidden = !(state === 'offline' && feedStatus.phase === 'waiting');
  page.notice.hidden = model.problem === null;
  if (model.problem !== null) write(page.notice, `The server refused: ${model.problem.message}`);
}

function drawHeading(result, now) {
  document.body.dataset.query = chosen ?? '';
  write(page.query, chosen ?? 'Millrace');
  const title = chosen === null ? 'Millrace' : `${chosen} · Millrace`;
  if (document.title !== title) document.title = title;
  const asOf = result !== null && result.as_of_ms > 0 ? result.as_of_ms : null;
  page['as-of'].parentElement.hidden = asOf === null;
  write(page.window, result === null ? '' : format.windowText(result.window));
  if (asOf !== null && page['as-of'].dataset.value !== String(asOf)) {
    page['as-of'].dataset.value = asOf;
    write(page['as-of'], format.clock(asOf, now));
  }
  drawQueries();
}

function drawResult(result, now) {
  const top = result.top.slice(0, wanted.n);
  if (!paused) ranks.record(result.top.map((entry) => entry.item), now);
  const again = bars.render(top, ranks.movement, now, fresh);
  fresh = false;
  clearTimeout(placeTimer);
  if (again !== null) placeTimer = setTimeout(schedule, again);
  totals.render(result, { lagMs: model.lagMs, skipped: model.skipped });
  const { uncertain, text } = legendText(format, result, top);
  swatch.hidden = !uncertain;
  write(page['legend-text'], text);
  page.bars.dataset.uncertain = String(uncertain);
}

function drawEmpty(result) {
  const waiting = chosen !== null && result === null; // on its way
  const empty = !waiting && (result === null || result.top.length === 0) && feedStatus.everOpen && feedStatus.phase === 'open';
  page.empty.hidden = !empty;
  totalsBox.hidden = result === null;
  page.bars.parentElement.hidden = empty;
  page.legend.hidden = result === null || result.top.length === 0;
  if (!empty) return;
  const { title, text, steps } = emptyText(format, chosen, result);
  write(page['empty-title'], title);
  write(page['empty-text'], text);
  if (page['empty-steps'].dataset.title !== title) {
    page['empty-steps'].dataset.title = title;
    page['empty-steps'].replaceChildren(...steps.map((step) => {
      const line = document.createElement('li');
      line.textContent = step;
      return line;
    }));
  }
}

function drawPause() {
  const held = paused === null ? 0 : (model.updates.get(chosen) ?? 0) - paused.updates;
  document.body.dataset.paused = String(paused !== null);
  page.pause.dataset.held = held;
  write(page['pause-verb'], paused === null ? 'Pause' : 'Resume');
  page['pause-held'].hidden = paused === null;
  write(page['pause-held'], `${format.count(held)} held`);
}

function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// The leaders in words for a screen reader: only when they changed, and seldom.
function announce(now) {
  if (paused || chosen === null || now - announced.at < ANNOUNCE_EVERY_MS) return;
  const result = model.results.get(chosen);
  if (!result) return;
  const state = document.body.dataset.state;
  const leaders = result.top.slice(0, 3).map((entry) => entry.item);
  const text = state === 'live'
    ? (leaders.length > 0 ? `${chosen}: ${leaders.join(', ')} lead.` : `${chosen}: nothing counted yet.`)
    : `${STATE_WORDS[state]}.`;
  if (text === announced.text) return;
  announced = { text, at: now };
  page.announcer.textContent = text;
}

// The mill's wheel moves on by a notch a second while results flow. Not an endless animation: a wall screen would draw
// sixty pictures a second for it.
function turnWheel() {
  const updates = model.updates.get(chosen) ?? 0;
  if (updates === wheel.updates || paused || calm.matches) return;
  wheel.updates = updates;
  wheel.notch = (wheel.notch + 1) % 24;
  wheel.element.style.transform = `rotate(${wheel.notch * 15}deg)`;
}

function tick() {
  const now = Date.now();
  const result = model.results.get(chosen);
  if (result && feedStatus.phase === 'open' && !paused) {
    rates.record(result.version, now);
    totals.renderRate(rates.points(), rates.current());
  }
  askWhenDue(now);
  turnWheel();
  announce(now);
  schedule();
}

// ---- what people do

page.queries.addEventListener('change', (event) => want(event.target.value));
page.size.addEventListener('change', (event) => {
  wanted.n = Number(event.target.value);
  fresh = true;
  savePrefs(wanted);
  schedule();
});
page.pause.addEventListener('click', () => {
  paused = paused === null && chosen !== null && model.results.has(chosen)
    ? { result: model.results.get(chosen), updates: model.updates.get(chosen) }
    : null;
  schedule();
});
page.retry.addEventListener('click', () => feed.retryNow());
addEventListener('online', () => feed.retryNow());
addEventListener('hashchange', () => {
  const { query, n } = parseHash(location.hash);
  if (n !== null) {
    wanted.n = n;
    fresh = true;
    page.size.querySelector(`input[value="${n}"]`).checked = true;
  }
  if (query !== null) want(query);
});
document.addEventListener('visibilitychange', () => {
  if (document.hidden) return;
  feed.retryNow();
  scheduled = false; // a timer of the hidden page may be far away
  schedule();
});

page.size.querySelector(`input[value="${wanted.n}"]`).checked = true;
feed.start();
setInterval(tick, TICK_MS);
