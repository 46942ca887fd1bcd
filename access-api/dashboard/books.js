// What an audit says, as sentences and rows. Pure, no DOM.
// Guarantees: the rows of the table by minute and the row of what is earlier add up to the row of the total, whichever
// minutes are shown; an outcome that never occurred has no column, unless it is one that usually does.

export const STATES = ['asking', 'waiting', 'balanced', 'lost', 'unbalanced', 'offline'];

// How many minutes are shown unless the reader wants all of them.
export const NEWEST = 30;

// What was lost comes first, because a phone shows the first columns only.
const OUTCOMES = [
  { name: 'gap', title: 'Lost', always: false },
  { name: 'counted', title: 'Counted', always: true },
  { name: 'duplicate', title: 'Re-deliveries', always: true },
  { name: 'undecodable', title: 'No event', always: true },
  { name: 'control', title: 'No record', always: false },
];

// A number that is 0 is left out of an audit.
const of = (outcomes, name) => outcomes[name] ?? 0;
const sum = (outcomes) => OUTCOMES.reduce((all, { name }) => all + of(outcomes, name), 0);

// `answer` is what askForAudit returned last, `audit` the last audit that it returned, or null.
export function stateOf(answer, audit) {
  if (answer === null) return 'asking';
  if (answer.kind === 'none' || (answer.kind === 'refused' && answer.reason !== 'not_yet')) return 'offline';
  if (audit === null || answer.kind !== 'audit') return 'waiting';
  if (audit.balanced !== true) return 'unbalanced';
  return of(audit.total, 'gap') > 0 ? 'lost' : 'balanced';
}

// One sentence that answers whether the books balance.
export function verdictText(format, state, audit, reason = null) {
  const offsets = audit === null ? '' : format.count(sum(audit.total));
  switch (state) {
    case 'asking':
      return 'Asking the server …';
    case 'waiting':
      return 'No audit yet. The analyzer publishes one within seconds after the first event.';
    case 'offline':
      return `${reason === null ? 'The server does not answer' : `The server refused: ${reason}`}${audit === null ? '' : '; the numbers below are from before'}.`;
    case 'unbalanced':
      return 'The books do not balance.';
    case 'lost':
      return `The books balance, and ${format.count(of(audit.total, 'gap'))} of ${offsets} offsets of the raw topic were lost: Kafka deleted their records before they were read.`;
    default:
      return `The books balance: what became of each of ${offsets} offsets of the raw topic is known, and none was lost.`;
  }
}

// What there is to say beside the verdict, a sentence each: where the books do not balance, and what is unusual.
export function findings(format, audit) {
  const said = [];
  for (const [partition, books] of Object.entries(audit.partitions).filter(([, each]) => !each.balanced)) {
    const entered = sum(books);
    if (entered !== books.offsets) {
      said.push(`Partition ${partition} was read through ${format.count(books.offsets)} offsets, and ${format.count(entered)} are in its books.`);
    }
    for (const [name, counter, what] of [['counted', 'events', 'events'], ['duplicate', 'duplicates', 're-deliveries'], ['undecodable', 'undecodable', 'records that are no event']]) {
      const [mine, theirs] = [of(books, name), books.results?.[counter] ?? 0];
      if (mine !== theirs) said.push(`Partition ${partition} has ${format.count(mine)} ${what} in its books, and ${format.count(theirs)} in the results.`);
    }
  }
  const gap = of(audit.total, 'gap');
  if (audit.balanced !== true && gap > 0) said.push(`${format.count(gap)} offsets were lost: Kafka deleted their records before they were read.`);
  const control = of(audit.total, 'control');
  if (control > 0) {
    said.push(`For ${format.count(control)} offsets Kafka gives no record: they are transaction markers, or compaction removed the record. A topic that only collectors write to has none.`);
  }
  return said;
}

// The columns that the tables have, by name.
export function columns(audit) {
  return OUTCOMES.filter(({ name, always }) => always || of(audit.total, name) > 0);
}

// The rows by minute: the total, the newest minutes first, and what is earlier. `hidden` is how many minutes are in that.
export function minuteRows(format, audit, showAll, wallMs) {
  const shown = showAll ? audit.minutes : audit.minutes.slice(-NEWEST);
  const hidden = audit.minutes.slice(0, audit.minutes.length - shown.length);
  const earlier = { ...audit.before };
  for (const minute of hidden) for (const { name } of OUTCOMES) earlier[name] = of(earlier, name) + of(minute, name);
  const row = (id, label, outcomes) => ({ id: String(id), label, cells: cells(audit, outcomes) });
  const rows = [row('total', 'Total', audit.total)];
  for (const minute of [...shown].reverse()) rows.push(row(minute.start_ms, format.minute(minute.start_ms, wallMs), minute));
  if (sum(earlier) > 0) rows.push(row('earlier', 'Earlier', earlier));
  return { rows, hidden: hidden.length };
}

export function partitionRows(audit) {
  return Object.entries(audit.partitions).map(([partition, books]) => ({
    id: partition, label: partition, cells: cells(audit, books, books.offsets), bad: !books.balanced,
  }));
}

function cells(audit, outcomes, offsets = sum(outcomes)) {
  return [offsets, ...columns(audit).map(({ name }) => of(outcomes, name))];
}
