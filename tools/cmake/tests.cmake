# The C++ tests: one GoogleTest executable, and the C++ micro-benchmarks where there are some.

file(GLOB suan_test_sources CONFIGURE_DEPENDS tests/*.cpp)
if(suan_test_sources)
  enable_testing()
  find_package(GTest REQUIRED)
  add_executable(suan_tests ${suan_test_sources})
  target_link_libraries(suan_tests PRIVATE suan_flags suan GTest::gtest_main)
  add_test(NAME suan_tests COMMAND suan_tests)
endif()

file(GLOB suan_bench_sources CONFIGURE_DEPENDS tests/bench/*.cpp)
if(suan_bench_sources)
  find_package(benchmark REQUIRED)
  add_executable(suan_bench ${suan_bench_sources})
  target_link_libraries(suan_bench PRIVATE suan_flags suan benchmark::benchmark_main)
endif()
