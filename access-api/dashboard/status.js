// Words for the states: the connection, the empty page, the error of the counts. Pure text, no DOM.
// Rely on: every state has a word of its own, so that nothing depends on colour.

export const STATE_WORDS = {
  connecting: 'Connecting',
  live: 'Live',
  'catching-up': 'Catching up',
  stale: 'Stale',
  offline: 'Offline',
};

export function detailText(format, { state, quietMs, lagMs, retryInMs, networkGone }) {
  switch (state) {
    case 'connecting':
      return 'waiting for the first result';
    case 'live':
      return quietMs > 0 ? `quiet: nothing new for ${format.duration(quietMs)}` : '';
    case 'catching-up':
      return lagMs !== null && lagMs >= 1000 ? `working off a backlog, ${format.duration(lagMs)} behind` : 'working off a backlog';
    case 'stale':
      return 'newer results are not arriving';
    default:
      if (networkGone) return 'this device has no network';
      return retryInMs === null ? 'reconnecting' : `reconnecting in ${Math.max(1, Math.ceil(retryInMs / 1000))} s`;
  }
}

// What to say, and to do, when there is no bar to show. `result` is null while the query has none.
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

// One sentence on how sure the counts are.
export function legendText(format, result, shown) {
  const uncertain = shown.some((entry) => entry.error > 0);
  const ceiling = format.count(result.ceiling);
  let text = 'Exact: every event counted once.';
  if (result.ceiling > 0) text = `The counts shown are exact. Whatever is not held any more has at most ${ceiling}.`;
  if (uncertain) text = `Hatched: uncertain. The true count ends within the hatched part. Whatever is not listed has at most ${ceiling}.`;
  if (result.shed_rate > 0) text = `Estimated from a sample: ${format.percent(result.shed_rate)} of the events were left out under load.`;
  if (result.gaps.length > 0) text += ' Messages that were lost before they could be read are not counted.';
  return { uncertain, text };
}
