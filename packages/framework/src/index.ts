// ---- Framework
export { AccelerationFramework } from "./acceleration-framework.ts";
export type { AugmentedRun, FrameworkOptions } from "./acceleration-framework.ts";
export type { ActivePlugin } from "./plugins/activate-plugins.ts";
export type { ConfigurationInput } from "./configuration/configuration-source.ts";
export type { ConfigurationSources } from "./configuration/assemble.ts";
export type { ConfiguredPlugin } from "./configuration/read-plugins.ts";
export { configurationJsonSchema } from "./configuration/json-schema.ts";
export type { JsonSchema } from "./configuration/json-schema.ts";

// ---- Plugins
export { definePlugin } from "./plugins/acceleration-plugin.ts";
export type {
  AccelerationPlugin,
  ActivationPaths,
  Augmentation,
  AugmentInput,
  CallbackInput,
  ConfigurationSchemas,
  KernelRequirement,
  ModelRequest,
  PluginConfiguration,
  PluginContext,
  PluginHooks,
  PluginOption,
  SlotReplacement,
  SlotReplacements,
} from "./plugins/acceleration-plugin.ts";
export { pluginCatalogue } from "./plugins/catalogue.ts";
export type { CataloguedPackage } from "./plugins/catalogue.ts";
export { describeProblem, discoverPlugins } from "./plugins/discover-plugins.ts";
export { findPluginPackages } from "./plugins/find-plugin-packages.ts";
export type { FoundPluginPackages, PluginPackage } from "./plugins/find-plugin-packages.ts";
export { loadPluginPackage } from "./plugins/load-plugin-package.ts";
export type {
  PluginDiscovery,
  PluginProblem,
  PluginProblemKind,
  PluginRegistration,
} from "./plugins/plugin-discovery.ts";
export type { PluginManifest } from "./plugins/plugin-manifest.ts";

// ---- Model patcher
export type { CallableModule, Forward, ModuleClass, ModulePlace } from "./patching/callable-module.ts";
export { modelPatcherRule, patchBranch } from "./patching/model-patcher-rule.ts";
export type {
  ModelPatcherRule,
  ModelPatcherRuleDefinition,
  PatchBranch,
  PatchSite,
} from "./patching/model-patcher-rule.ts";
export { allOf, anyOf, moduleIs, moduleWhere } from "./patching/module-trigger.ts";
export type { ModuleTrigger, TriggerOptions } from "./patching/module-trigger.ts";
export { ModelPatcher } from "./patching/model-patcher.ts";
export type { PatchConflict, PatchRecord } from "./patching/patch-report.ts";

// ---- Command line
export { main } from "./command-line.ts";
export { program } from "./program.ts";
export { dispatch, runCommandLine } from "./cli/main.ts";
export type { CommandEntry, Program } from "./cli/main.ts";
export type { CommandDefinition, Invocation } from "./cli/command-definition.ts";
export { createTerminal, processTerminal } from "./cli/terminal.ts";
export type { Terminal } from "./cli/terminal.ts";

// ---- For commands of plugins
export { withPluginCommands } from "./plugins/plugin-commands.ts";
export { selectRows } from "./cli/flag-table.ts";
export type { FlagGroup, FlagRow } from "./cli/flag-table.ts";
export { printLine } from "./cli/terminal.ts";
export { adapterChoice, adapterTable, noAdapter } from "./commands/adapter-flags.ts";
export { modelFolder, readInvocation } from "./commands/invocation-values.ts";
export type { InvocationValues } from "./commands/invocation-values.ts";
export { loadForUse, loadTokenizer, tokenizerFolder } from "./commands/load-for-use.ts";
export type { LoadedModel, LoadOptions } from "./commands/load-for-use.ts";
export { sampleOptions } from "./commands/sample-options.ts";

// ---- Terminal output
export { renderCurve, wantsLogarithm } from "./terminal/loss-chart.ts";
export type { CurvePoint } from "./terminal/loss-chart.ts";

// ---- Errors
export { ConfigurationError, PatchError, PluginError, UsageError } from "./errors.ts";
