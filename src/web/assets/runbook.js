// A runbook is text; only the state of the service at its top is live.

import { live } from "./live.js";

live({ load: async () => null, draw: () => {} });
