// The shell of the page of the audit: asks for it every few seconds, and writes the document. What is said is made in books.js.
// Guarantees: while the server does not answer, the page says so; a hidden page does not ask.

import { columns, findings, minuteRows, partitionRows, stateOf, verdictText } from './books.js';
import { createFormat } from './format.js';
import { askForAudit } from './server.js';

const EVERY_MS = 5_000;

const format = createFormat();
const find = (name) => document.querySelector(`[data-testid="${name}"]`);
const part = { verdict: find('verdict'), findings: find('findings'), asOf: find('as-of'), tables: find('tables'), minutes: find('minutes'), partitions: find('partitions'), all: find('all') };
const state = { answer: null, audit: null, showAll: false, timer: null };

async function ask() {
  clearTimeout(state.timer);
  const answer = await askForAudit(document.baseURI);
  state.answer = answer;
  if (answer.kind === 'audit') state.audit = answer.audit;
  else if (answer.kind === 'refused' && answer.reason === 'not_yet') state.audit = null;
  // Before anything is drawn: whatever the answer does to that, the next one is asked for.
  clearTimeout(state.timer);
  state.timer = setTimeout(() => { if (!document.hidden) ask(); }, EVERY_MS);
  draw();
}

function draw() {
  const { answer, audit } = state;
  const now = stateOf(answer, audit);
  document.body.dataset.state = now;
  put(part.verdict, verdictText(format, now, audit, answer?.reason ?? null));
  part.tables.hidden = audit === null;
  const said = audit === null ? [] : findings(format, audit);
  part.findings.hidden = said.length === 0;
  part.findings.replaceChildren(...said.map((text) => element('li', text)));
  if (audit === null) {
    put(part.asOf, '');
    return;
  }
  const wallMs = Date.now();
  put(part.asOf, audit.ingested_ms > 0 ? `Newest record: ${format.clock(audit.ingested_ms, wallMs)}.` : '');
  const heads = ['Offsets', ...columns(audit).map(({ title }) => title)];
  const { rows, hidden } = minuteRows(format, audit, state.showAll, wallMs);
  fill(part.minutes, ['Minute', ...heads], rows);
  fill(part.partitions, ['Partition', ...heads], partitionRows(audit));
  part.all.hidden = hidden === 0 && !state.showAll;
  put(part.all, state.showAll ? 'Show the newest minutes only' : `Show ${format.count(hidden)} more minutes`);
}

// A screen reader tells a live text again whenever it is written, so it is written only when it changes.
function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function fill(table, heads, rows) {
  const head = element('tr', '');
  head.replaceChildren(...heads.map((text) => element('th', text, { scope: 'col' })));
  const body = rows.map(({ id, label, cells, bad }) => {
    const row = element('tr', '', { 'data-row': id });
    const cell = (value) => element('td', format.count(value), { 'data-value': value, class: bad ? 'bad' : value === 0 ? 'zero' : '' });
    row.replaceChildren(element('th', label, { scope: 'row' }), ...cells.map(cell));
    return row;
  });
  const [thead, tbody] = [element('thead', ''), element('tbody', '')];
  thead.replaceChildren(head);
  tbody.replaceChildren(...body);
  table.replaceChildren(thead, tbody);
}

part.all.addEventListener('click', () => {
  state.showAll = !state.showAll;
  draw();
});
document.addEventListener('visibilitychange', () => {
  if (!document.hidden) ask();
});
addEventListener('online', ask);
ask();
