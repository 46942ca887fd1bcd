// Light or dark, before the first paint: the only script that is not a module, so that a choice never flashes.
// Rely on: `data-theme` on the root element is always 'light' or 'dark'; without a choice it follows the system.
// A click on [data-testid=theme] chooses; choosing what the system has forgets the choice.
(() => {
  const system = matchMedia('(prefers-color-scheme: dark)');
  const root = document.documentElement;
  let choice = null;
  try {
    choice = localStorage.getItem('millrace.theme');
  } catch {
    // nothing is remembered here
  }

  function apply() {
    const theme = choice ?? (system.matches ? 'dark' : 'light');
    root.dataset.theme = theme;
    const button = document.querySelector('[data-testid="theme"]');
    if (button) button.setAttribute('aria-label', theme === 'dark' ? 'Use the light theme' : 'Use the dark theme');
  }

  function toggle() {
    const next = root.dataset.theme === 'dark' ? 'light' : 'dark';
    choice = next === (system.matches ? 'dark' : 'light') ? null : next;
    try {
      if (choice === null) localStorage.removeItem('millrace.theme');
      else localStorage.setItem('millrace.theme', choice);
    } catch {
      // it lasts as long as the page then
    }
    apply();
  }

  apply();
  system.addEventListener('change', apply);
  document.addEventListener('DOMContentLoaded', () => {
    apply();
    document.querySelector('[data-testid="theme"]').addEventListener('click', toggle);
  });
})();
