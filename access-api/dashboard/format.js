// Numbers, times and windows as text for people. Pure; the locale is the browser's unless one is given.
// Guarantees: every function takes values as results have them (milliseconds, counts) and never throws on a finite number.

export function createFormat(locale = undefined, timeZone = undefined) {
  const integer = new Intl.NumberFormat(locale, { maximumFractionDigits: 0 });
  const oneDigit = new Intl.NumberFormat(locale, { maximumFractionDigits: 1, minimumFractionDigits: 1 });
  const share = new Intl.NumberFormat(locale, { style: 'percent', maximumFractionDigits: 1 });
  const time = new Intl.DateTimeFormat(locale, { hour: '2-digit', minute: '2-digit', second: '2-digit', timeZone });
  const hourAndMinute = new Intl.DateTimeFormat(locale, { hour: '2-digit', minute: '2-digit', timeZone });
  const day = new Intl.DateTimeFormat(locale, { day: 'numeric', month: 'short', year: 'numeric', timeZone });

  const count = (n) => integer.format(n);
  const percent = (ratio) => share.format(ratio);

  // A rate below ten keeps one decimal, because 1.3 and 1 a second are noticeably different rates.
  const rate = (perSecond) => (perSecond > 0 && perSecond < 10 ? oneDigit : integer).format(perSecond);

  // In one unit, the largest that fits: "5 ms", "1.2 s", "3 min", "2 h", "4 days".
  function duration(ms) {
    if (ms < 1000) return `${integer.format(Math.max(0, ms))} ms`;
    if (ms < 10_000) return `${oneDigit.format(Math.floor(ms / 100) / 10)} s`;
    if (ms < 60_000) return `${integer.format(Math.floor(ms / 1000))} s`;
    if (ms < 3_600_000) return `${integer.format(Math.floor(ms / 60_000))} min`;
    if (ms < 172_800_000) return `${integer.format(Math.floor(ms / 3_600_000))} h`;
    return `${integer.format(Math.floor(ms / 86_400_000))} days`;
  }

  // A configured length in the largest unit that divides it: 1,800,000 is "30 minutes".
  function span(ms) {
    for (const [unit, name] of [[86_400_000, 'day'], [3_600_000, 'hour'], [60_000, 'minute'], [1000, 'second']]) {
      if (ms >= unit && ms % unit === 0) {
        const n = ms / unit;
        return n === 1 ? name : `${integer.format(n)} ${name}s`;
      }
    }
    return `${integer.format(ms)} ms`;
  }

  // With the day if it is another one than that of `nowMs`, so that a recording from 2015 does not look like today.
  function moment(ms, nowMs, ofDay) {
    const date = new Date(ms);
    const today = day.format(new Date(nowMs));
    const on = day.format(date);
    return on === today ? ofDay.format(date) : `${on}, ${ofDay.format(date)}`;
  }

  const clock = (ms, nowMs) => moment(ms, nowMs, time);
  const minute = (ms, nowMs) => moment(ms, nowMs, hourAndMinute);

  function windowText(window) {
    if (window.kind === 'running') return 'Running total since the start';
    if (window.kind === 'sliding') {
      return `Last ${span(window.size_ms)}, every ${span(window.slide_ms)}`;
    }
    return window.kind;
  }

  return { count, percent, rate, duration, span, clock, minute, windowText };
}
