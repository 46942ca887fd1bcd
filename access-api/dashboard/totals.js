// The figures beside the bars and the line of messages per second.
// Guarantees: each figure is in [data-testid=NAME], with the result's number in data-value and the text in its <dd>;
// a figure that only warns (gaps, missed, future, untimed, skipped) is hidden while it is zero.

import { missing } from './wording.js';

const SPARK = { width: 180, height: 40, headroom: 4, atLeastMs: 30_000 };

export function createTotals(root, format) {
  const find = (name) => root.querySelector(`[data-testid="${name}"]`);
  const spark = find('spark');
  const [area, line] = spark.querySelectorAll('path');
  const rate = find('rate');

  function put(name, value, text, title = '') {
    const box = find(name);
    if (box.dataset.value === String(value) && box.dataset.text === text) return;
    box.dataset.value = value;
    box.dataset.text = text;
    box.querySelector('dd').textContent = text;
    box.title = title;
  }

  function putUnlessZero(name, value, text, title) {
    find(name).hidden = value === 0;
    put(name, value, text, title);
  }

  function render(result, { lagMs, skipped }) {
    const gaps = result.gaps ?? [];
    const lost = gaps.reduce((sum, gap) => sum + (gap.to - gap.from), 0);
    const where = gaps.map((gap) => `partition ${gap.partition}, offsets ${gap.from} to ${gap.to - 1}`).join('; ');
    put('events', result.events, format.count(result.events));
    root.style.setProperty('--hero-digits', format.count(result.events).length);
    put('total', result.total, format.count(result.total), 'How often any item was named by an event in the window');
    put(
      'distinct',
      result.distinct,
      result.distinct_error > 0
        ? `${format.count(result.distinct)} ± ${format.count(Math.ceil(result.distinct * result.distinct_error))}`
        : format.count(result.distinct),
      result.distinct_error > 0 ? `Estimated; standard error ${format.percent(result.distinct_error)}` : 'Exact',
    );
    put('duplicates', result.duplicates, format.count(result.duplicates), 'Messages that the source sent again: not counted twice');
    put('late', result.late, format.count(result.late), 'Mentions that came after their window was closed');
    put('version', result.version, format.count(result.version), 'Messages read so far, re-deliveries included');
    put('lag', lagMs ?? '', lagMs === null ? '–' : format.duration(lagMs), 'For the query that is shown: the time from the receipt of its newest event to the sending of its result');
    putUnlessZero('future', result.future ?? 0, format.count(result.future ?? 0), 'Events dated so far ahead that they wait to be confirmed, or belong to no window');
    putUnlessZero('untimed', result.untimed ?? 0, format.count(result.untimed ?? 0), 'Events whose time is missing or cannot be read');
    putUnlessZero('gaps', lost, format.count(lost), where);
    const missed = missing(format, result.missed);
    putUnlessZero('missed', missed.value, missed.text, missed.title);
    putUnlessZero('skipped', skipped, format.count(skipped), 'Updates that were replaced by newer ones before they reached this page');
  }

  // points: { age, perSecond }, newest last; current: mean of the last seconds or null.
  function renderRate(points, current) {
    const peak = Math.max(1e-9, ...points.map((point) => point.perSecond));
    const span = Math.max(SPARK.atLeastMs, points[0]?.age ?? 0);
    const x = (age) => SPARK.width * (1 - age / span);
    const y = (perSecond) => SPARK.height - (SPARK.height - SPARK.headroom) * (perSecond / peak);
    const path = points.map((point) => `${x(point.age).toFixed(2)} ${y(point.perSecond).toFixed(2)}`).join('L');
    const first = points.length > 1 ? x(points[0].age).toFixed(2) : 0;
    line.setAttribute('d', points.length > 1 ? `M${path}` : '');
    area.setAttribute('d', points.length > 1 ? `M${first} ${SPARK.height}L${path}L${SPARK.width} ${SPARK.height}Z` : '');
    const text = current === null ? 'measuring messages per second' : `${format.rate(current)} messages per second`;
    if (rate.textContent !== text) rate.textContent = text;
    const label = current === null
      ? 'Messages per second: nothing seen yet'
      : `Messages per second over the last ${format.duration(span)}: now ${format.rate(current)}, at most ${format.rate(peak)}`;
    if (spark.getAttribute('aria-label') !== label) spark.setAttribute('aria-label', label);
  }

  return { render, renderRate };
}
