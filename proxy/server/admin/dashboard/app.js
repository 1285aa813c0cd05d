/** Puts the page together: views by the fragment of its URL, one feed of figures, one stream of events. */

import { ask, hasToken } from "./api.js";
import { life } from "./badges.js";
import { byId, el, fill, say } from "./dom.js";
import { EntriesView } from "./entries.js";
import { EventsView } from "./events.js";
import { ExplainView } from "./explain.js";
import { Feed } from "./feed.js";
import { clock } from "./format.js";
import { Overview } from "./overview.js";
import { PurgeView } from "./purge.js";
import { ReasonView } from "./reason.js";
import { link, read } from "./route.js";
import { Stream } from "./stream.js";
import { tokenDialog } from "./token.js";

const reasons = await ask("dashboard/reasons.json").catch(() => ({})); // without them the rest is worth showing
const unlock = tokenDialog(() => feed.hurry());
const feed = new Feed(take);
const views = {
  overview: new Overview(feed, reasons, unlock),
  entries: new EntriesView(unlock),
  explain: new ExplainView(reasons, unlock),
  purge: new PurgeView(unlock),
  events: new EventsView(unlock),
  reason: new ReasonView(reasons, unlock),
};
const stream = new Stream(
  (happening) => views.events.hear(happening),
  (since) => views.events.cut(since),
);
const tabs = ["overview", "entries", "explain", "purge", "events"].map((name) =>
  el("a", { href: link(name) }, views[name].title),
);

/** @param {import("./feed.js").State} state */
function take(state) {
  for (const view of Object.values(views)) view.take(state);
  if (state.full) stream.start();
  else stream.stop();
  document.body.classList.toggle("stale", !state.live && Boolean(state.stats));
  const gone = state.gone && `Disconnected since ${clock(state.gone)}`;
  say(byId("link"), gone || (state.locked ? "Locked" : state.draining ? "Draining" : "Live"));
  byId("link").className = `link ${gone ? "bad" : state.locked || state.draining ? "warn" : "good"}`;
  const trouble = gone
    ? `${gone}: ${state.why} The figures below are from then; it is tried again.`
    : state.locked
      ? "The gateway tells nothing here without the admin token."
      : "";
  say(byId("trouble"), trouble);
  byId("trouble").hidden = !trouble;
  const button = byId("unlock");
  button.hidden = state.full && !hasToken();
  say(button, hasToken() ? "Lock" : "Unlock");
  if (state.stats) say(byId("foot"), `Cachegate on ${location.host}, ${life(state.stats)}`);
}

/** @param {boolean} first */
function go(first) {
  const route = read(location.hash);
  const view = views[route.view];
  if (view.element.parentElement !== byId("main")) fill(byId("main"), view.element);
  view.show(route);
  view.take(feed.state);
  for (const tab of tabs) {
    if (tab.hash === `#${route.view}`) tab.setAttribute("aria-current", "page");
    else tab.removeAttribute("aria-current");
  }
  document.title = `${view.title} – Cachegate`;
  if (!first) byId("main").focus({ preventScroll: true });
}

fill(
  byId("nav"),
  tabs.map((tab) => el("li", {}, tab)),
);
byId("unlock").addEventListener("click", () => {
  if (hasToken())
    location.reload(); // and all that it showed is forgotten with it
  else unlock();
});
addEventListener("hashchange", () => go(false));
go(true);
feed.run();
