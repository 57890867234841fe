# The smallest system, without nixpkgs: a second stage in busybox's shell. The
# tests put busybox beside it.
{
  outputs = { self }: {
    nixosConfigurations.vm.config.system.build.toplevel = derivation {
      name = "minimal";
      system = "x86_64-linux";
      builder = "${self}/busybox";
      args = [ "sh" "-e" "${self}/build" ];
      source = self;
    };
  };
}
