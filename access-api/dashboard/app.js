// The shell: browser events -> state -> view -> document. All decisions are made in the modules that it imports.
// Guarantees: however many frames arrive, the document is written at most once per animation frame, and then everything
// received so far is acknowledged; a hidden page does both about once a second (as often as its timers may run).

import { createAnnouncer } from './announcer.js';
import { createFormat } from './format.js';
import { createPage } from './page.js';
import { loadPrefs, parseHash, savePrefs } from './prefs.js';
import { askForQueries, socketUrl } from './server.js';
import { createSocket } from './socket.js';
import { createState, newest, receiveAnswer, receiveFrame, subscription, togglePause, wantQuery, wantSize } from './state.js';
import { viewOf } from './view.js';
import { asked, nextStep, renewed, socketChanged } from './watchdog.js';

const TICK_MS = 1_000;

const now = () => performance.now(); // unlike the wall clock, it is never adjusted
const format = createFormat();
const page = createPage(format, matchMedia('(prefers-reduced-motion: reduce)'));
const state = createState(loadPrefs());
const announcementOf = createAnnouncer();
const drawing = { scheduled: false, timer: null, updates: 0 };

const socket = createSocket({
  url: socketUrl(document.baseURI),
  onFrame(frame) {
    if (receiveFrame(state, frame, now(), Date.now())) changed();
  },
  onPhase(status) {
    socketChanged(state.watchdog, status, now());
    watch();
    schedule();
  },
});

function changed() {
  socket.subscribe(subscription(state));
  schedule();
}

function watch() {
  const step = nextStep(state.watchdog, now());
  if (step === 'ask') ask();
  if (step === 'renew') {
    renewed(state.watchdog, now());
    socket.renew();
  }
}

async function ask() {
  const askedAt = now();
  asked(state.watchdog, askedAt);
  const answer = await askForQueries(document.baseURI);
  receiveAnswer(state, answer, askedAt, now());
  changed();
  watch();
}

function schedule() {
  if (drawing.scheduled) return;
  drawing.scheduled = true;
  if (document.hidden) setTimeout(draw, TICK_MS);
  else requestAnimationFrame(draw);
}

function draw() {
  drawing.scheduled = false;
  const view = viewOf(state, format, now(), Date.now());
  if (view.result !== null && !view.paused) state.ranks.record(view.result.top.map((entry) => entry.item), now());
  const again = page.draw(view, state.ranks.movement, state.fresh, now());
  if (view.result !== null) state.fresh = false;
  clearTimeout(drawing.timer);
  if (again !== null) drawing.timer = setTimeout(schedule, again);
  const words = announcementOf(view, now());
  if (words !== null) page.announce(words);
  socket.acknowledge();
}

function tick() {
  const picture = newest(state);
  if (picture !== null && state.watchdog.socket.phase === 'open' && state.paused === null) {
    state.rates.record(picture.result.version, now());
    page.drawRate(state.rates.points(), state.rates.current());
    if (picture.updates !== drawing.updates) page.turnWheel();
    drawing.updates = picture.updates;
  }
  watch();
  schedule();
}

// === user input

page.part.queries.addEventListener('change', (event) => {
  wantQuery(state, event.target.value);
  savePrefs(state.wanted);
  changed();
});
page.part.size.addEventListener('change', (event) => {
  wantSize(state, Number(event.target.value));
  savePrefs(state.wanted);
  schedule();
});
page.part.pause.addEventListener('click', () => {
  togglePause(state);
  schedule();
});
page.part.retry.addEventListener('click', () => socket.retryNow());
addEventListener('online', () => socket.retryNow());
addEventListener('hashchange', () => {
  const { query, n } = parseHash(location.hash);
  if (n !== null) {
    wantSize(state, n);
    page.checkSize(n);
  }
  if (query !== null) wantQuery(state, query);
  savePrefs(state.wanted);
  changed();
});
document.addEventListener('visibilitychange', () => {
  if (document.hidden) return;
  socket.retryNow();
  drawing.scheduled = false; // the timer of a hidden page may run much later
  schedule();
});

page.checkSize(state.wanted.n);
socket.subscribe(subscription(state));
socket.start();
setInterval(tick, TICK_MS);
