// The texts of the page: for the state of the connection, for the empty page, for the error of the counts. Pure, no DOM.
// Guarantees: every state has a word of its own, so that nobody depends on the colour.

export const STATE_WORDS = {
  connecting: 'Connecting',
  offline: 'Offline',
  reading: 'Reading',
  'kafka-away': 'Kafka away',
  waiting: 'Waiting',
  stale: 'Stale',
  slow: 'Too slow',
  'catching-up': 'Catching up',
  quiet: 'Quiet',
  live: 'Live',
};

// Why the server closed the connection. Other reasons tell a reader nothing.
const BYE_TEXTS = new Map([['shutdown', 'the server stopped; '], ['stalled', 'this page was too slow; ']]);

// Details of the state. A resume or a gap is shown for some seconds, if the state itself has no details.
export function detailText(format, { state, hasResult, quietMs, lagMs, retryInMs, bye, stalled, kafkaAwaySinceMs, event, wallMs }) {
  switch (state) {
    case 'connecting':
      return 'to the server';
    case 'offline':
      return (BYE_TEXTS.get(bye) ?? '') + (retryInMs === null ? 'reconnecting' : `reconnecting in ${Math.max(1, Math.ceil(retryInMs / 1000))} s`);
    case 'reading':
      return 'the server reads the results from Kafka';
    case 'kafka-away':
      return `since ${format.clock(kafkaAwaySinceMs, wallMs)}; the results shown are from before`;
    case 'waiting':
      return hasResult ? 'for the first event' : 'for the first result';
    case 'stale':
      return 'newer results are not arriving';
    case 'slow':
      return stalled ? 'this page is behind and gets only the newest results' : 'this page falls behind the server';
    case 'catching-up':
      return lagMs !== null && lagMs >= 1000 ? `working off a backlog, ${format.duration(lagMs)} behind` : 'working off a backlog';
    case 'quiet':
      return `no result for ${format.duration(quietMs)}`;
    default:
      return eventText(format, event);
  }
}

function eventText(format, event) {
  if (event?.kind === 'resumed') return 'resumed where the connection broke';
  if (event?.kind !== 'gap') return '';
  return event.skipped === null ? 'some updates were missed' : `${format.count(event.skipped)} updates were missed`;
}

// What to tell the reader in addition to the state, or null.
export function noticeText(results, wanted) {
  if (results.unranked.has(wanted)) return `This page cannot draw the results of “${wanted}”, because they are not a ranking.`;
  return results.problem === null ? null : `The server refused: ${results.problem.message}`;
}

// What to say, and what to advise, when there is no bar to show. `result` is null while the query has no result.
export function emptyText(format, query, result) {
  if (result === null) {
    return {
      title: 'No results yet',
      text: 'This page is connected. Bars appear by themselves as soon as the analyzer publishes its first result.',
      steps: [
        'Is the analyzer running? Its /ready page names what it waits for.',
        'On one machine, “millrace up” starts a feed and everything it needs.',
      ],
    };
  }
  if (result.events === 0) {
    return {
      title: 'Waiting for the first event',
      text: `This page is connected and the analyzer has answered, but no event has been counted for “${query}” yet.`,
      steps: [
        'Is the feed sending? The collector’s /ready page says whether it is connected to it.',
        'Without a feed, “millrace simulate” serves one; “millrace up” starts it with everything else.',
      ],
    };
  }
  if (result.window.kind === 'sliding') {
    return {
      title: 'Nothing in this window',
      text: `None of the ${format.count(result.events)} events read so far falls into the last ${format.span(result.window.size_ms)}.`,
      steps: ['The window follows the newest event’s own time; it fills as newer events arrive.'],
    };
  }
  return {
    title: 'No event names an item',
    text: `${format.count(result.events)} events were read, and none has a value where the query “${query}” looks.`,
    steps: ['Compare the query’s “item” path in the analyzer’s configuration with one message of the feed.'],
  };
}

// What collectors know to be missing of their sources; what `keep` leaves out is not, because it is left out on purpose.
export function missing(format, missed) {
  const { gaps = 0, dropped = 0, shed = 0, last = [] } = missed ?? {};
  const parts = [
    gaps > 0 ? `${format.count(gaps)} ${gaps === 1 ? 'gap' : 'gaps'}` : '',
    dropped + shed > 0 ? `${format.count(dropped + shed)} ${dropped + shed === 1 ? 'message' : 'messages'}` : '',
  ];
  const clock = (ms) => format.clock(ms, last.at(-1).to_ms);
  const times = last.map(({ source, cause, from_ms: from, to_ms: to }) => {
    const interval = from === null ? `before ${clock(to)}` : `${clock(from)} to ${clock(to)}`;
    return `${source}: ${cause}, ${interval}`;
  });
  // A cause that this page does not know is among the intervals only.
  const value = Math.max(gaps + dropped + shed, last.length);
  const text = parts.filter(Boolean).join(', ') || `${format.count(value)} intervals`;
  return { value, text, title: times.join('; ') };
}

// One sentence on how sure the counts are.
export function legendText(format, result, shown) {
  const uncertain = shown.some((entry) => entry.error > 0);
  const ceiling = format.count(result.ceiling);
  let text = 'Exact: every event counted once.';
  if (result.ceiling > 0) text = `The counts shown are exact. Whatever is not held any more has at most ${ceiling}.`;
  if (uncertain) text = `Hatched: uncertain. The true count ends within the hatched part. Whatever is not listed has at most ${ceiling}.`;
  if ((result.gaps ?? []).length > 0) text += ' Messages that were lost before they could be read are not counted.';
  if (missing(format, result.missed).value > 0) text += ' Messages that sources sent and that did not arrive are not counted.';
  return { uncertain, text };
}
