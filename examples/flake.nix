{
  description = "The NixOS system on which run-kernel boots kernels";

  # The release. `nix flake update` in this directory takes its latest state; until
  # then flake.lock, which the first build writes, holds it.
  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  outputs =
    { nixpkgs, ... }:
    {
      # run-kernel builds nixosConfigurations.vm.config.system.build.toplevel. Another
      # system beside this one is --flake ./nixos#NAME.
      nixosConfigurations.vm = nixpkgs.lib.nixosSystem {
        modules = [ ./configuration.nix ];
      };
    };
}
