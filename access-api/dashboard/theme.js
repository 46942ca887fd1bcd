// The light or dark theme, set before the first paint: this is the only script that is not a module, because a module
// would run later and the page would flash in the other theme.
// Guarantees: `data-theme` on the root element is always 'light' or 'dark'; without a choice it follows the system.
// A click on [data-testid=theme] changes the theme; choosing the system's theme deletes the stored choice.
(() => {
  const system = matchMedia('(prefers-color-scheme: dark)');
  const root = document.documentElement;
  let choice = null;
  try {
    choice = localStorage.getItem('millrace.theme');
  } catch {
    // no storage: no choice is remembered
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
      // no storage: the choice lasts until the page is closed
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
