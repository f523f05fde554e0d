// Runs before the first paint, as a file of its own so that no inline script is needed.
(function () {
  var choice = null;
  try {
    choice = localStorage.getItem("aos.theme");
  } catch (error) {
    choice = null;
  }
  var dark =
    choice === "dark" ||
    (choice !== "light" && window.matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset.theme = dark ? "dark" : "light";
})();
